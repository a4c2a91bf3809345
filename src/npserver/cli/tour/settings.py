"""The demo's config, which uses every handler, and the files that it serves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from npserver.web.design import BASE, OWN
from npserver.web.middleware.basic_auth.passwords import hash_password

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

APPS = ("app1", "app2", "app3")
#: Names of the ports: the sample servers', then the listeners'.
SAMPLES = (*APPS, "tour", "tcp_echo", "udp_echo", "scripts")
LISTENERS = ("web", "tls", "tcp", "translate", "game", "dns")
USER, PASSWORD = "demo", "demo"
_PHOTOS = ("beach.txt", "forest.txt", "mountains.txt")
_STYLE = BASE + OWN + "\n" + "/* long enough to be worth compressing */\n" * 20


def make_config(ports: Mapping[str, int], directory: Path) -> dict[str, Any]:
    """Return the demo's config. `ports`: by their names."""
    hashed = hash_password(PASSWORD, os.urandom(16))
    apps = [f"http://127.0.0.1:{ports[name]}" for name in APPS]
    return {
        "listen": [
            {"name": "web", "uri": f"http://127.0.0.1:{ports['web']}"},
            {"name": "tls", "uri": f"https://127.0.0.1:{ports['tls']}"},
            {"name": "local", "uri": f"unix://{directory}/web.sock"},
            {"name": "tcp", "uri": f"tcp://127.0.0.1:{ports['tcp']}"},
            {"name": "translate", "uri": f"tcp://127.0.0.1:{ports['translate']}"},
            {"name": "game", "uri": f"udp://127.0.0.1:{ports['game']}"},
            {"name": "dns", "uri": f"udp://127.0.0.1:{ports['dns']}"},
            {"name": "dns-tcp", "uri": f"tcp://127.0.0.1:{ports['dns']}"},
        ],
        "tls": {"cert": f"{directory}/demo.crt", "key": f"{directory}/demo.key"},
        "upstreams": {
            "apps": {
                "targets": apps,
                "balance": "round-robin",
                "health_check": {"path": "/healthz", "interval": 1},
                "retry_timeout_seconds": 3,
            },
            "shops": {"targets": apps, "sticky": {"cookie": "shop"}, "retry_timeout_seconds": 3},
        },
        "networks": {"banned": {"learn": {"login": 3}, "for": "1m", "except": ["127.0.0.1"]}},
        "dispatch": [
            {"name": "tour", "handler": "proxy", "path": "/", "proxy_pass": f"http://127.0.0.1:{ports['tour']}"},
            {
                "name": "buttons of the tour",
                "handler": "proxy",
                "path": "/try/**",
                "proxy_pass": f"http://127.0.0.1:{ports['tour']}",
            },
            {"name": "files", "handler": "static", "root": f"{directory}/public"},
            {
                "name": "photos",
                "handler": "static",
                "path": "/photos/**",
                "root": f"{directory}/photos",
                "browse": True,
            },
            {"name": "api", "handler": "proxy", "path": "/api/**", "proxy_pass": "upstream://apps"},
            {"name": "shop", "handler": "proxy", "path": "/shop", "proxy_pass": "upstream://shops"},
            {"name": "slow", "handler": "proxy", "path": "/slow", "proxy_pass": "upstream://apps", "cache": True},
            {"name": "chat", "handler": "proxy", "path": "/ws/**", "proxy_pass": "upstream://apps"},
            {"name": "broken", "handler": "proxy", "path": "/broken", "proxy_pass": f"unix://{directory}/nobody.sock"},
            {
                "name": "scripts",
                "handler": "fastcgi",
                "path": "/scripts/**",
                "root": f"{directory}/scripts",
                "to": f"tcp://127.0.0.1:{ports['scripts']}",
            },
            {"name": "old", "handler": "redirect", "path": "/old", "to": "/hello"},
            {
                "name": "hello",
                "handler": "respond",
                "path": "/hello",
                "body": "hello $client_ip\n",
                "security_headers": True,
            },
            {"name": "limited", "handler": "respond", "path": "/limited", "body": "come in\n", "rate_limit": "5/10s"},
            {
                "name": "private",
                "handler": "respond",
                "path": "/private",
                "body": "you are in\n",
                "basic_auth": {"users": {USER: hashed}},
            },
            {
                "name": "vault",
                "handler": "respond",
                "path": "/vault",
                "body": "gold\n",
                "deny": "banned",
                "basic_auth": {"users": {USER: hashed}},
            },
            {"name": "status", "handler": "status", "path": "/status", "buttons": True},
            {"listener": "tcp", "handler": "forward", "forward_to": f"tcp://127.0.0.1:{ports['tcp_echo']}"},
            {
                "listener": "translate",
                "handler": "forward",
                "forward_to": f"udp://127.0.0.1:{ports['udp_echo']}",
                "mode": "datagram",
            },
            {
                "listener": "game",
                "handler": "forward",
                "forward_to": f"tcp://127.0.0.1:{ports['tcp_echo']}",
                "mode": "stream",
            },
            {"listener": ["dns", "dns-tcp"], "handler": "dns"},
        ],
        "dns": {
            "web.demo": {"A": "127.0.0.1", "AAAA": "::1", "TXT": "npserver demo"},
            "app.demo": {"CNAME": "web.demo"},
            "demo": {"MX": {"priority": 10, "host": "web.demo"}, "NS": "web.demo"},
            "_http._tcp.demo": {"SRV": {"priority": 0, "weight": 1, "port": ports["web"], "target": "web.demo"}},
        },
        "metrics": {"times": True},
        "logging": {"level": "error", "access_log": f"{directory}/access.log"},
        "workers": 0,
    }


def write_files(directory: Path) -> None:
    """Write what the config names."""
    from npserver.cli.cert import write_certificate

    for name in ("public", "photos", "scripts"):
        (directory / name).mkdir()
    (directory / "public" / "style.css").write_text(_STYLE, encoding="utf-8")
    for name in _PHOTOS:
        (directory / "photos" / name).write_text(f"imagine {name.removesuffix('.txt')} here\n")
    (directory / "scripts" / "hello.php").write_text("<?php echo 'hello';\n")
    write_certificate(["localhost", "127.0.0.1"], directory / "demo.crt", directory / "demo.key")
