"""A config that has everything that `npserver explain` tells of, and the files that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trustme

from npserver.explain.explanation import Explanation
from tests.stage.passwords import quick_hash

CONFIG: dict[str, Any] = {
    "listen": [
        "http://:8080",
        {"name": "admin", "uri": "http://127.0.0.1:9000"},
        {"uri": "https://:8443", "tls": {"cert": "nas.pem", "key": "nas.key"}},
        {"name": "dns", "uri": "udp://192.0.2.53:53"},
        "tcp://:5432",
        {"name": "echo", "uri": "udp://:7000"},
    ],
    "networks": {"office": ["10.0.0.0/8"]},
    "trusted_proxies": ["10.9.9.9"],
    "upstreams": {
        "nas": {"targets": ["http://10.0.0.5:8000", {"uri": "http://10.0.0.6:8000", "weight": 3}]},
        "sticky": {"balance": "ip-hash", "targets": ["http://10.0.0.7:80", "http://10.0.0.8:80"]},
    },
    "rate_limits": {"slow": {"rate": "5/s"}},
    "dns": {"nas.home": {"A": "10.0.0.5"}, "www.home": {"CNAME": "nas.home"}, "out.home": {"CNAME": "ads.example"}},
    "dns_views": [{"from": "office", "dns": {"nas.home": {"A": "10.0.0.99"}}}],
    "dns_forward": {
        "resolvers": ["9.9.9.9"],
        "allow": ["office"],
        "zones": {"corp.example": ["10.0.0.1"]},
    },
    "dns_block": {"block": ["ads.example"], "answer": "nxdomain"},
    "dispatch": [
        {
            "name": "nas",
            "host": "nas.home",
            "path": "/api/**",
            "handler": "proxy",
            "proxy_pass": "upstream://nas",
            "strip_prefix": True,
            "headers": {"X-Who": "$client_ip", "User-Agent": None},
            "allow": "office",
            "rate_limit": "slow",
        },
        {"host": "nas.home", "handler": "redirect", "to": "https://nas.home$request_uri", "status": 301},
        {"host": "*.home", "from": "office", "handler": "respond", "body": "hi"},
        {"host": "*.home", "match": {"method": "POST"}, "handler": "respond", "status": 202},
        {"host": "files.example", "handler": "static", "root": "site", "response_headers": {"X-B": "c"}},
        {"host": "one.example", "handler": "proxy", "proxy_pass": "http://10.0.0.9:3000/app"},
        {"host": "hash.example", "handler": "proxy", "proxy_pass": "upstream://sticky"},
        {"host": "private.example", "handler": "respond", "basic_auth": {"users": {"u": "$HASH"}}},
        {"host": "sso.example", "handler": "respond", "forward_auth": {"to": "http://10.0.0.4:9091"}},
        {
            "host": "cors.example",
            "handler": "respond",
            "cors": {"origins": ["https://app.example"]},
            "max_requests": 5,
        },
        {"host": "php.example", "handler": "fastcgi", "root": "site", "to": "tcp://127.0.0.1:9999"},
        {"host": "busy.example", "handler": "respond", "maintenance": True},
        {"handler": "dns", "listener": "dns", "deny": ["203.0.113.0/24"]},
        {"handler": "forward", "listener": "tcp://:5432", "forward_to": "tcp://10.0.0.5:5432", "sni": "*.db.home"},
        {"handler": "forward", "listener": "tcp://:5432", "forward_to": "tcp://10.0.0.6:5432", "deny": ["office"]},
        {"handler": "forward", "listener": "echo", "forward_to": "udp://10.0.0.6:7", "from": "office"},
    ],
}


def write_files(place: Path, authority: trustme.CA) -> Path:
    """Write the files that the config names into a directory, and the config; return its path."""
    issued = authority.issue_cert("nas.home", "*.home")
    (place / "nas.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(place / "nas.key"))
    (place / "site" / "sub").mkdir(parents=True)
    (place / "site" / "sub" / "index.html").write_text("below")
    (place / "site" / "index.html").write_text("hello")
    (place / "site" / "page.html").write_text("page " * 500)
    (place / "site" / "run.php").write_text("<?php")
    file = place / "config.json"
    file.write_text(json.dumps(CONFIG, indent=1).replace("$HASH", quick_hash("secret")))
    return file


def steps(found: Explanation, kind: str) -> list[str]:
    """Return the texts of the steps of a kind."""
    return [step.text for step in found.steps if step.kind == kind]
