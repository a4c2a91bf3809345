"""A real nginx as an upstream. It inherits its listening socket: connections that come before it runs wait."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stage.waiting import wait_until

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def running_nginx(directory: Path, server: str, *, http: str = "", listen: str = "") -> Iterator[str]:
    """Run nginx with `directory` for its files; yield its URL.

    `server`, `http`: directives of these blocks. `listen`: what the listener is besides, such as `ssl http2`.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        temporary = "".join([f"{name}_temp_path {directory}/{name};\n" for name in _TEMPORARY])
        config = directory / "nginx.conf"
        config.write_text(
            f"daemon off; user {getpass.getuser()}; pid {directory}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; types {{ text/html html; }}\n{temporary}{http}\n"
            f"server {{ listen 127.0.0.1:{port} {listen}; root {directory}; {server} }} }}\n"
        )
        descriptor = listener.fileno()
        process = subprocess.Popen(
            ["nginx", "-c", str(config), "-p", str(directory)],
            env={"NGINX": f"{descriptor};", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            pass_fds=(descriptor,),
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def running_config(directory: Path, config: str, ports: list[int]) -> Iterator[None]:
    """Run nginx with blocks of a config, the `stream` module included, until it accepts on these TCP ports."""
    temporary = "".join([f"{name}_temp_path {directory}/{name};\n" for name in _TEMPORARY])
    module = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n" if "stream {" in config else ""
    file = directory / "nginx.conf"
    file.write_text(
        f"{module}daemon off; user {getpass.getuser()}; pid {directory}/pid; error_log stderr; events {{}}\n"
        + config.replace("http {", f"http {{ access_log off; {temporary}", 1)
    )
    process = subprocess.Popen(
        ["nginx", "-c", str(file), "-p", str(directory)], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    try:
        for port in ports:
            wait_until(lambda port=port: process.poll() is None and _accepts(port), f"nginx to accept on port {port}")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
