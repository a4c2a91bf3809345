"""The groups of key exchange that `check` names, compared with those that OpenSSL's own client can use here."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.tls import groups
from npserver.tls.groups import POST_QUANTUM, describe_groups, offered_groups
from tests.stage.program import ROOT, Program
from tests.stage.programs import needs

HAS_POST_QUANTUM = ssl.OPENSSL_VERSION_INFO[:2] >= (3, 5)
#: Names of OpenSSL's command line for those of IANA.
OTHER_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def test_usual_groups_are_offered() -> None:
    found = offered_groups()
    assert {"x25519", "secp256r1"} <= set(found)
    assert (POST_QUANTUM in found) == HAS_POST_QUANTUM
    assert not [name for name in found if name.startswith("0x")], "groups without a name here"


def test_the_reason_is_said_if_the_post_quantum_group_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "offered_groups", lambda: ["x25519", "secp256r1"])
    reason = "the system's openssl.cnf leaves it out" if HAS_POST_QUANTUM else "it needs OpenSSL 3.5"
    version = " ".join(ssl.OPENSSL_VERSION.split(" ")[:2])
    assert describe_groups() == f"key exchange by x25519, secp256r1 ({version}; not X25519MLKEM768: {reason})"
    monkeypatch.setattr(groups, "offered_groups", lambda: [POST_QUANTUM])
    assert describe_groups() == f"key exchange by X25519MLKEM768 ({version})"


@needs("openssl")
def test_a_server_uses_exactly_these(
    program: Callable[..., Program], free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    port = free_port()
    program(config={"listen": [f"https://127.0.0.1:{port}"], "tls": certificates().config, "workers": 0,
                    "dispatch": [{"handler": "respond", "body": "x"}]})  # fmt: skip
    used = []
    for name in groups._NAMES.values():
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3"]
        command += ["-groups", OTHER_NAMES.get(name, name), "-no-CAfile", "-no-CApath", "-no-CAstore"]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False)
        if b"New, TLSv1.3" in done.stdout:
            used.append(name)
    assert set(used) == set(offered_groups())


def test_the_systems_configuration_counts(tmp_path: Path, certificates: Callable[..., Any]) -> None:
    """`Groups` in openssl.cnf."""
    sections = "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\n"
    (tmp_path / "openssl.cnf").write_text(f"{sections}Groups = P-384:X25519\n")
    issued = certificates()
    config = f'{{"listen": ["https://:1"], "tls": {{"cert": "{issued.cert}", "key": "{issued.key}"}}}}'
    (tmp_path / "config.json").write_text(config)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OPENSSL_CONF": str(tmp_path / "openssl.cnf")}
    done = subprocess.run(
        [sys.executable, "-m", "npserver", "check"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "  TLS        " in done.stdout
    assert " key exchange by secp384r1, x25519 (OpenSSL " in done.stdout
    assert "; not X25519MLKEM768: " in done.stdout


@pytest.mark.parametrize(
    ("target", "is_said"),
    [
        ("http://127.0.0.1:2", False),
        ("https://127.0.0.1:2", True),
        ("upstream://plain", False),
        ("upstream://secure", True),
    ],
)
def test_they_are_named_where_tls_is_used(tmp_path: Path, target: str, is_said: bool) -> None:
    """Also if only a target is reached over TLS."""
    scheme = "https" if "secure" in target else "http"
    name = target.removeprefix("upstream://")
    config = {
        "listen": ["http://:1"],
        "upstreams": {name: {"targets": [f"{scheme}://127.0.0.1:3"]}} if target.startswith("upstream") else {},
        "dispatch": [{"handler": "proxy", "proxy_pass": target}],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "npserver", "check"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ("  key exchange by " in done.stdout) == is_said
