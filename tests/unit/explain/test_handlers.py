"""What handlers answer, and where they pass requests to.

Covers `web.handlers.static.located`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from npserver.explain.explanation import Explanation
from tests.stage.explained import steps

Ask = Callable[..., Explanation]


def test_a_proxied_request_has_its_targets_path_and_header(ask: Ask) -> None:
    found = ask("http://nas.home/api/x?y=1", client="10.0.0.1", headers={"User-Agent": "curl", "X-Kept": "1"})
    assert found.to == ["upstream://nas"]
    assert steps(found, "to") == [
        "upstream://nas: http://10.0.0.5:8000, http://10.0.0.6:8000 (weight 3), by round-robin"
    ]
    assert steps(found, "sends") == ["GET /x?y=1 HTTP/1.1"]
    (added,) = steps(found, "adds")
    assert "X-Who: 10.0.0.1" in added
    assert "X-Forwarded-Host: nas.home" in added
    assert "X-Kept" not in added
    assert steps(found, "removes") == ["User-Agent"]
    assert steps(found, "rate_limit") == ["passes, as long as the client is within slow"]
    assert found.result == "is passed to upstream://nas (http://10.0.0.5:8000, http://10.0.0.6:8000)"


def test_the_target_of_a_rule_has_several_names(ask: Ask) -> None:
    found = ask("http://one.example/x")
    assert "http://10.0.0.9:3000/app" in found.to
    assert "http://10.0.0.9:3000" in found.to
    assert "http://10.0.0.9:3000/app/x" in found.to


def test_a_hash_tells_the_target(ask: Ask) -> None:
    found = {ask("http://hash.example/", client=f"10.0.0.{last}").to[1] for last in range(1, 40)}
    assert found == {"http://10.0.0.7:80", "http://10.0.0.8:80"}


def test_a_file_is_named(ask: Ask, directory: Path) -> None:
    found = ask("http://files.example/")
    assert found.file == str(directory / "site" / "index.html")
    assert steps(found, "response adds") == ["X-B: c"]
    missing = ask("http://files.example/none")
    assert missing.file == ""
    assert steps(missing, "file") == [f"{directory}/site/none: there is no such file"]


def test_a_script_is_named_with_who_runs_it(ask: Ask, directory: Path) -> None:
    found = ask("http://php.example/run.php/info")
    assert found.file == str(directory / "site" / "run.php")
    assert found.to[0] == "tcp://127.0.0.1:9999"


def test_a_redirect_has_its_location(ask: Ask) -> None:
    assert ask("http://nas.home/a?b").location == "https://nas.home/a?b"
