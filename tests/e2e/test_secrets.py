"""No secret is in anything that the program says: logs at the finest level, access log, `check`, the status page and
the metrics, the answers of commands; whatever succeeds or fails.

Covers `config.section`; `tests/property/test_secrets.py` is about the messages for each key of the schema,
`tests/protocols/test_secrets.py` about the objects of a running process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.stage.passwords import quick_hash
from tests.stage.pebble import Pebble, running_pebble
from tests.stage.program import ROOT, Program
from tests.stage.programs import needs
from tests.stage.secrets import keys_below, leaks, lock, private_values, secret_places

pytestmark = needs("pebble")

MAC_KEY = "dGhlLW1hYy1rZXktb2YtYW4tZXh0ZXJuYWwtYWNjb3VudC1vZi1hLXByb2dyYW0"
URL_KEY = "the-key-in-the-url-of-a-service-that-tells-addresses"
TSIG_KEY = "dGhlLXRzaWcta2V5LW9mLWEtbmFtZS1zZXJ2ZXItdGhhdC1pcy1kb3du"
XFR_KEY = "dGhlLWtleS10aGF0LXRyYW5zZmVycy1vZi16b25lcy1hcmUtc2lnbmVk"
PASSWORD, PASSPHRASE = "the-password-of-joe-himself", "the-passphrase-of-a-private-key"
CHECK_TOKEN = "the-token-that-health-checks-show"
COLLECTOR_TOKEN = "the-token-that-the-collector-of-traces-is-shown"
DATABASE_PASSWORD = "the-password-of-a-database-that-scripts-are-told"
TOKEN_SECRET = "the-secret-that-tokens-of-an-issuer-are-signed-with"
HASH = quick_hash(PASSWORD)
#: The keys of the schema that hold a secret, each of which the config below has.
PLANTED = {
    "Acme.eab_key",
    "BasicAuth.users",
    "DnsKey.secret",
    "DnsUpdate.key",
    "FastcgiRule.env",
    "HealthCheck.headers",
    "Jwt.secret",
    "PublicAddress.ask",
    "Tracing.headers",
}
#: Notes each random number that may become a secret of session tickets, in all processes; see tls/ticket_keys.py.
RECORDING = """
import os
real = os.urandom
def recording(count):
    number = real(count)
    if count == 32:
        with open({file!r}, "a") as file:
            file.write(number.hex() + "\\n")
    return number
os.urandom = recording
"""


def run(*words: str, config: Path) -> str:
    """Run a command of the program; return all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "npserver", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, cwd=config.parent, capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    return f"{done.stdout}{done.stderr}"


def shake_hands(port: int, name: str) -> None:
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert secure.recv(100).startswith(b"HTTP/1.1")


def test_every_secret_of_the_schema_is_planted() -> None:
    assert {name for name, _ in secret_places("x")} == PLANTED, "add the new one to the config below"


def test_no_secret_is_said(
    program: Callable[..., Program],
    authority: trustme.CA,
    certificates: Callable[..., Any],
    free_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    recorded, hook = tmp_path / "random", tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(RECORDING.format(file=str(recorded)))
    supplied, client = certificates("own.example.test"), certificates("client.example.test")
    keys = [*private_values(supplied.key.read_bytes()), *private_values(client.key.read_bytes())]
    encrypted = {**supplied.config, "key_passphrase": str(lock(supplied.key, PASSPHRASE))}
    with running_pebble(tmp_path / "pebble", authority, {"kid": MAC_KEY}) as pebble:
        (tmp_path / "x.php").touch()
        made = config(pebble, tmp_path, encrypted, client, free_port())
        one = program(config=made, env={"PYTHONPATH": f"{hook}:{ROOT / 'src'}"})
        assert one.config_file is not None
        file = one.config_file
        said = [run("check", *words, config=file) for words in (["-config", file.name], [file.name])]
        assert "certificate for web.example.test by" in said[0]
        said.append(run("check", "-print", file.name, config=file))
        assert '"secret": "(secret)"' in said[-1]
        one.wait_for(r"certificate for web\.example\.test issued by", 30)
        one.wait_for(r"no certificate for down\.example\.test: ", 30)
        one.wait_for(r"no certificate for txt\.example\.test: name server", 30)
        one.wait_for("public address not found: http://127")
        for name in ("own.example.test", "web.example.test", "nas.home", "unknown.test"):
            shake_hands(pebble.tls_port, name)
        said += ask(pebble.http_port)
        one.configure(
            json.dumps(made, indent=1).replace(f'"{MAC_KEY}"', f'{{"x": "{MAC_KEY}"}}').replace(HASH, PASSWORD)
        )
        said += [run("reload", "-config", file.name, config=file), run("check", file.name, config=file)]
        assert "not a password hash" in said[-1]
        one.configure(json.dumps(made, indent=1).replace(f'"{MAC_KEY}"', f'"{MAC_KEY}'))
        one.send_signal(signal.SIGHUP)
        one.wait_for("string without its closing")
        supplied.key.write_bytes(client.key.read_bytes())
        one.wait_for("does not belong to the certificate")
        one.send_signal(signal.SIGUSR1)
        one.configure(made)
        said.append(run("cert", "-root", "-config", file.name, config=file))
        said += ask(pebble.http_port)
        one.stop()
    secrets = {
        "private keys of files": keys,
        "private keys of the store": keys_below(tmp_path / "store"),
        "secrets of session tickets": [bytes.fromhex(line) for line in recorded.read_text().split()],
        "secrets of the config": [
            MAC_KEY.encode(),
            URL_KEY.encode(),
            TOKEN_SECRET.encode(),
            urlsafe_b64decode(f"{MAC_KEY}=="),
            TSIG_KEY.encode(),
            urlsafe_b64decode(TSIG_KEY),
            XFR_KEY.encode(),
            urlsafe_b64decode(XFR_KEY),
            HASH.rpartition("$")[2].encode(),
            CHECK_TOKEN.encode(),
            DATABASE_PASSWORD.encode(),
            COLLECTOR_TOKEN.encode(),
        ],
        "passwords": [PASSWORD.encode(), PASSPHRASE.encode()],
        "credentials": [b64encode(f"joe:{PASSWORD}".encode())],
    }
    assert len(secrets["private keys of the store"]) >= 5, "account, certificates, stand-ins, and roots"
    assert secrets["secrets of session tickets"]
    text = "\n".join([*said, one.output, one.errors])
    for mark in ('/private"', "npserver_certificate_failures", "down.example.test", "txt.example.test", "debug"):
        assert mark in text, mark
    assert {kind: found for kind, values in secrets.items() if (found := leaks(values, text))} == {}
    assert "PRIVATE KEY" not in text


def config(pebble: Pebble, directory: Path, encrypted: dict[str, str], client: Any, closed_port: int) -> dict[str, Any]:
    ca = {"ca": str(pebble.ca), "challenge": ["http"], "eab_key_id": "kid", "eab_key": MAC_KEY}
    update = {
        "server": f"127.0.0.1:{closed_port}",
        "zone": "example.test",
        "key_name": "k",
        "key": TSIG_KEY,
        "timeout": 0.1,
    }
    by_dns = {**ca, "directory": pebble.url, "challenge": ["dns"], "dns_update": update}
    return {
        "workers": 2,
        "store": str(directory / "store"),
        "logging": {"level": "trace", "format": "json"},
        "tracing": {
            "to": f"http://127.0.0.1:{closed_port}",
            "headers": {"Authorization": f"Bearer {COLLECTOR_TOKEN}"},
        },
        "listen": [
            {"name": "http", "uri": f"http://127.0.0.1:{pebble.http_port}"},
            {"name": "https", "uri": f"https://127.0.0.1:{pebble.tls_port}"},
            {"name": "dns", "uri": f"udp://127.0.0.1:{pebble.dns_port}"},
        ],
        "tls": [
            encrypted,
            {"acme": {**ca, "directory": pebble.url}, "names": ["web.example.test"]},
            {"acme": {**ca, "directory": f"https://127.0.0.1:{closed_port}/dir"}, "names": ["down.example.test"]},
            {"acme": by_dns, "names": ["txt.example.test"]},
            {"internal": True, "names": ["nas.home", "other.example.test"]},
        ],
        "upstreams": {
            "up": {
                "targets": [f"https://127.0.0.1:{closed_port}"],
                "tls": {"cert": str(client.cert), "key": str(client.key), "insecure": True},
                "health_check": {"headers": {"Authorization": f"Bearer {CHECK_TOKEN}"}, "interval": 0.1},
            }
        },
        "dns": {f"{name}.example.test": {"A": "127.0.0.1"} for name in ("web", "published")},
        "dns_keys": {"xfr": {"secret": XFR_KEY}},
        "public_address": {"ask": f"http://127.0.0.1:{closed_port}/?key={URL_KEY}"},
        "dispatch": [
            {"handler": "respond", "listener": ["http", "https"], "body": "x"},
            {"handler": "respond", "listener": "http", "host": "published.example.test", "publish": True},
            {
                "handler": "respond", "listener": "http", "path": "/private", "body": "x",
                "basic_auth": {"users": {"joe": HASH}},
            },
            {
                "handler": "respond", "listener": "http", "path": "/tokens", "body": "x",
                "jwt": {"secret": TOKEN_SECRET, "audience": "x"},
            },
            {"handler": "proxy", "listener": "http", "path": "/up/**", "proxy_pass": "upstream://up"},
            {
                "handler": "fastcgi", "listener": "http", "path": "/php/**", "to": f"tcp://127.0.0.1:{closed_port}",
                "root": str(directory), "fallback": "x.php", "env": {"PASSWORD": DATABASE_PASSWORD},
            },
            {"handler": "status", "listener": "http"},
            {"handler": "dns", "listener": "dns", "allow_transfer": "key:xfr"},
        ],
    }  # fmt: skip


def ask(port: int) -> list[str]:
    """Ask for all there is, and return what the program answers."""
    url = f"http://127.0.0.1:{port}"
    found = []
    with httpx.Client(timeout=20) as client:
        found += [client.get(f"{url}/status?format={form}").text for form in ("html", "json", "prometheus")]
        for password in (PASSWORD, f"{PASSWORD}!"):
            answer = client.get(f"{url}/private", auth=("joe", password))
            found.append(f"{answer.status_code} {answer.headers} {answer.text}")
        found += [client.get(f"{url}{path}").text for path in ("/up/x", "/php/x", "/.well-known/acme-challenge/x")]
        found.append(client.request("TRACE", url, headers={"Authorization": "Basic x"}).text)
    assert found[3].startswith("200")
    assert found[4].startswith("401")
    return found


@pytest.mark.parametrize("place", ["log", "status"])
def test_a_secret_that_is_said_is_found(place: str) -> None:
    """The log quotes what it is given by `repr`, the status page in HTML."""
    key = trustme.CA().issue_cert("a.example").private_key_pem.bytes()
    text = f"x {key!r}" if place == "log" else f"<td>{key.decode()}</td>"
    assert leaks(private_values(key), text) != []
