"""A real nginx as an upstream. It inherits its listening socket: connections that come before it runs wait."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
