"""nginx's texts in our words."""

from __future__ import annotations

import pytest

from npserver.importing.directives import Directive
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, body, seconds, size, text


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("https://$host$request_uri", "https://$host$request_uri"),
        ("/x$is_args$args", "/x$query"),
        ("/x?$args", "/x$query"),
        ("${scheme}_$http_user_agent", "${scheme}_${header.user-agent}"),
        ("$mine", "value"),
        ("$remote_user@$server_addr", "$user@$local_ip"),
    ],
)
def test_variables(theirs: str, ours: str) -> None:
    assert text(theirs, {"mine": "value"}) == ours


@pytest.mark.parametrize(
    "theirs", ["$unknown", "${file:/etc/passwd}", "a$", "$1", "$args", "$request_time", "$sent_http_x"]
)
def test_what_has_no_counterpart(theirs: str) -> None:
    with pytest.raises(NoCounterpart):
        text(theirs)


def test_sizes_and_times() -> None:
    assert [size("8M"), size("0"), seconds("1m30s"), seconds("75"), seconds("500ms")] == ["8m", 0, 90, 75, 0.5]
    for wrong in ("x", "", "1x", "9" * 30):
        with pytest.raises(NoCounterpart):
            seconds(wrong)


def test_escapes_in_bodies() -> None:
    assert body(r"ok\n", {}) == "ok\n"


def test_constants_are_filled_in() -> None:
    block = [Directive("", 1, "set", ["$base", "/srv"]), Directive("", 2, "set", ["$root", "$base/www"])]
    assert Scope([block]).fill_in("$root/${base}/$host") == "/srv/www//srv/$host"
