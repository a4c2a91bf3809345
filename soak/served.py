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
    directory: Path,
    ports: Ports,
    targets: Targets,
    tls: dict[str, Any],
    *,
    generation: int = 0,
    log: str = "",
    udp_timeout: str = "60s",
) -> dict[str, Any]:
    """Return the config; another `generation` differs in what clients do not see. `log`: the access log."""
    public = directory / "public"
    if not public.exists():  # it is served by then
        public.mkdir()
        (public / "file.txt").write_bytes(FILE_BODY)
    host = "127.0.0.1"
    http = [f"http://{host}:{one.port}" for one in targets.http]
    tcp, udp = f"tcp://{host}:{ports.tcp}", f"udp://{host}:{ports.udp}"
    return {
        "listen": [
            f"http://{host}:{ports.http}", {"uri": f"https://{host}:{ports.https}", "http3": True}, tcp,
            udp, f"udp://{host}:{ports.dns}", f"tcp://{host}:{ports.dns}", f"unix://{ports.unix}",
        ],
        "workers": 2,
        "tls": tls,
        "logging": {"access_log": log or str(directory / "access.log")},
        "upstreams": {
            "app": {"targets": http[generation % 2 :] + http[: generation % 2]},
            "chat": {"targets": [f"http://{host}:{port}" for port in targets.websocket_ports]},
            "bytes": {"targets": [f"tcp://{host}:{port}" for port in targets.tcp_ports]},
            "games": {"targets": [f"udp://{host}:{port}" for port in targets.udp_ports]},
        },
        "timeouts": {"shutdown": f"{SHUTDOWN_S}s"},
        "dns": {"soak.test": {"A": ZONE_ADDRESS}},
        "dispatch": [
            {"handler": "forward", "listener": tcp, "forward_to": "upstream://bytes"},
            {"handler": "forward", "listener": udp, "forward_to": "upstream://games", "timeout": udp_timeout},
            {"handler": "dns", "listener": [f"udp://{host}:{ports.dns}", f"tcp://{host}:{ports.dns}"]},
            {"handler": "proxy", "path": "/ws", "proxy_pass": "upstream://chat"},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": "upstream://app"},
            {"handler": "respond", "path": "/generation", "body": f"generation {generation}"},
            {"handler": "static", "root": str(public)},
        ],
    }  # fmt: skip
