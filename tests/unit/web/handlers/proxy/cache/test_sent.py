"""Names of fields, and variables, by which a response is for one client. More in protocols/test_cache_sharing.py."""

from __future__ import annotations

import pytest

from npserver.web.handlers.proxy.cache.sent import has_unusual_names, tells_identity

MAPS = {"role": "$jwt.sub", "lang": "$header.accept-language"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([b"host", b"x-original-url", b"accept"], False),
        ([b"host", b"x_original_url"], True),
        ([b"accept.encoding"], True),
        ([b"x_forwarded_for", b"x_real_ip"], False),  # they are not forwarded
        ([b"x_forwarded_for", b"x_a"], True),
        ([], False),
    ],
)
def test_names_that_applications_may_take_for_others(names: list[bytes], expected: bool) -> None:
    assert has_unusual_names(dict.fromkeys(names, b"x")) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$jwt.sub", True),
        ("$user", True),
        ("$header.user", False),
        ("a ${tls_client_subject} b", True),
        ("$tls_client_fingerprint", True),
        ("$map.role", True),
        ("$map.lang$map.none", False),
        ("$tls_version $client_ip $request_id", False),
        ("$$jwt.sub", False),
        ("", False),
    ],
)
def test_variables_that_say_who_has_signed_in(text: str, expected: bool) -> None:
    assert tells_identity(text, MAPS) is expected
