"""Variables of nginx by our names."""

from __future__ import annotations

import pytest

from npserver.nginx_variables import _NAMES, UNLIKE, names_for
from npserver.web.logs.variables import OWN_NAMES
from npserver.web.variables import VARIABLES


def test_all_of_ours_exist() -> None:
    assert {one for name in _NAMES for one in names_for(name)} <= {*VARIABLES, *OWN_NAMES}
    assert set(_NAMES) >= UNLIKE


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("request", ["method", "target", "protocol"]),
        ("http_x_real_ip", ["header.x-real-ip"]),
        ("sent_http_etag", ["response.etag"]),
        ("cookie_a_b", ["cookie.a_b"]),
        ("arg_a_b", ["query.a_b"]),
        ("arg_", []),
        ("pid", []),
    ],
)
def test_names(theirs: str, ours: list[str]) -> None:
    assert names_for(theirs) == ours
