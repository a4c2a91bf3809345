"""The config that npserver has under load: each kind of listener and of handler that the clients use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from soak.targets import Targets

SHUTDOWN_S = 20  # clients end their connections sooner
FILE_BODY = b"0123456789abcdef" * 1024
ZONE_ADDRESS = "192.0.2.53"


class Ports(Struct):
    """The ports that npserver listens on, and its Unix socket."""

    http: int
    https: int
    tcp: int
    udp: int
    dns: int
    unix: str


def choose_ports(free_port: Callable[[], int], directory: Path) -> Ports:
    """Return ports that are free, and a socket in `directory`."""
    return Ports(*[free_port() for _ in range(5)], unix=str(directory / "s"))


def make_config(
    directory: Path, ports: Ports, targets: Targets, tls: dict[str, Any], *, generation: int = 0, log: str = ""
) -> dict[str, Any]:
    """Return the config; another `generation` differs in what clients do not see. `log`: the access log."""
    public = directory / "public"
    if not public.exists():  # it is served by then
        public.mkdir()
        (public / "file.txt").write_bytes(FILE_BODY)
    host = "127.0.0.1"
    http = [f"http://{host}:{one.port}" for one in targets.http]
    return {
        "listen": [
            f"http://{host}:{ports.http}", f"https://{host}:{ports.https}", f"tcp://{host}:{ports.tcp}",
            f"udp://{host}:{ports.udp}", f"udp://{host}:{ports.dns}", f"tcp://{host}:{ports.dns}", f"unix://{ports.unix}",
        ],
        "workers": 2,
        "tls": tls,
        "logging": {"access_log": log or str(directory / "access.log")},
        "upstreams": {"app": {"targets": http[generation % 2 :] + http[: generation % 2]}},
        "timeouts": {"shutdown": f"{SHUTDOWN_S}s"},
        "dns": {"soak.test": {"A": ZONE_ADDRESS}},
        "dispatch": [
            {"handler": "forward", "listener": f"tcp://{host}:{ports.tcp}", "forward_to": f"tcp://{host}:{targets.tcp_port}"},
            {"handler": "forward", "listener": f"udp://{host}:{ports.udp}", "forward_to": f"udp://{host}:{targets.udp_port}"},
            {"handler": "dns", "listener": [f"udp://{host}:{ports.dns}", f"tcp://{host}:{ports.dns}"]},
            {"handler": "proxy", "path": "/ws", "proxy_pass": f"http://{host}:{targets.websocket_port}"},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": "upstream://app"},
            {"handler": "respond", "path": "/generation", "body": f"generation {generation}"},
            {"handler": "static", "root": str(public)},
        ],
    }  # fmt: skip
