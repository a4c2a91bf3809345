"""A file of `htpasswd` with the real program: two workers, changed while it runs.

Covers `web.middleware.basic_auth.password_file`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from joserfc import jwk, jwt

from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.waiting import wait_until

pytestmark = needs("htpasswd")


def htpasswd(*words: str | Path, password: str = "") -> None:
    subprocess.run(["htpasswd", *words], input=password.encode(), check=True, capture_output=True)


def statuses(url: str, *logins: tuple[str, str]) -> set[int]:
    """Return what requests on several connections get: both workers answer some of them."""
    return {httpx.get(url, auth=login).status_code for login in logins for _ in range(8)}


def test_users_come_and_go_without_a_reload(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    file = tmp_path / "users"
    htpasswd("-ciBC", "4", file, "bea", password="bcrypt")
    htpasswd("-im", file, "ann", password="apr1")
    htpasswd("-is", file, "sue", password="sha")
    port = free_port()
    rule: dict[str, Any] = {"handler": "respond", "body": "$user", "basic_auth": {"file": "users"}}
    rule["body"] = "in"
    config = {"listen": [f"http://127.0.0.1:{port}"], "workers": 2, "dispatch": [rule]}
    one = program(config=config, cwd=tmp_path)
    url = f"http://127.0.0.1:{port}/"
    assert statuses(url, ("bea", "bcrypt"), ("ann", "apr1"), ("sue", "sha")) == {200}
    assert statuses(url, ("bea", "apr1"), ("joe", "x")) == {401}

    htpasswd("-is", file, "joe", password="new")
    htpasswd("-D", file, "sue")
    one.wait_for(r"users changed and was read: 3 users \(basic_auth.file\)")
    wait_until(lambda: statuses(url, ("joe", "new")) == {200} and statuses(url, ("sue", "sha")) == {401}, "change")
    assert statuses(url, ("bea", "bcrypt")) == {200}

    with file.open("a") as stream:
        stream.write("eve:plaintext\n")
    one.wait_for(r"users changed but cannot be used, the old users stay: line 4: not a hash of .*\(basic_auth.file\)")
    assert statuses(url, ("joe", "new")) == {200}
    assert statuses(url, ("eve", "plaintext")) == {401}
    assert "plaintext" not in one.errors


def test_a_worker_that_is_replaced_has_the_last_good_users_and_keys(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    users, keys, port = tmp_path / "users", tmp_path / "keys.json", free_port()
    key = jwk.ECKey.generate_key("P-256")
    keys.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    bearer = {"Authorization": "Bearer " + jwt.encode({"alg": "ES256"}, {"exp": int(time.time()) + 600}, key)}
    htpasswd("-ciBC", "4", users, "bea", password="b")
    htpasswd("-is", users, "sue", password="s")
    rules = [
        {"path": "/token", "handler": "respond", "jwt": {"keys": "keys.json"}},
        {"handler": "respond", "basic_auth": {"file": "users"}},
    ]
    config = {"listen": [f"http://127.0.0.1:{port}"], "workers": 2, "dispatch": rules}
    one = program(config=config, cwd=tmp_path)
    url = f"http://127.0.0.1:{port}/"

    def replace_a_worker() -> None:
        workers = [pid for pid in one.children() if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(workers[0], signal.SIGKILL)
        one.wait_until(lambda: workers[0] not in one.children(), "the end of a worker")
        one.wait_until(lambda: len(one.children()) == 3, "another worker")
        assert {httpx.get(f"{url}token", headers=bearer).status_code for _ in range(16)} == {200}

    assert statuses(url, ("bea", "b"), ("sue", "s")) == {200}
    good = users.read_text()
    users.write_text("nonsense\n")
    keys.write_text("nonsense\n")
    one.wait_for(r"users changed but cannot be used, the old users stay")
    one.wait_for(r"the keys of .* cannot be used, the last good ones stay")
    replace_a_worker()
    assert statuses(url, ("bea", "b"), ("sue", "s")) == {200}  # as they were at the start
    users.write_text(good.partition("\n")[0] + "\n")
    one.wait_for(r"users changed and was read: 1 users")
    users.unlink()  # at once: what was read is what counts
    replace_a_worker()
    assert statuses(url, ("bea", "b")) == {200}
    assert statuses(url, ("sue", "s")) == {401}  # as it was told of last
    one.forget_errors()
    one.send_signal(signal.SIGHUP)
    one.wait_for_new(r"cannot use 'users': no such file")  # a reload wants a good one
