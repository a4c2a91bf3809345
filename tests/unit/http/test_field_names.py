"""Names that applications cannot tell apart (RFC 3875 §4.1.18)."""

from __future__ import annotations

import pytest

from npserver.http.field_names import fold


@pytest.mark.parametrize("name", [b"x-real-ip", b"x_real_ip", b"x.real~ip", b"x-real_ip"])
def test_names_fold_to_one(name: bytes) -> None:
    assert fold(name) == b"x-real-ip"


def test_other_names_stay_apart() -> None:
    assert len({fold(name) for name in (b"x-a", b"xa", b"x-a-", b"x-b", b"x1a")}) == 5
