"""Request targets (RFC 9112 §3.2) and canonical paths (RFC 3986 §6.2.2)."""

from __future__ import annotations

import pytest

from npserver.errors import BadRequest
from npserver.http.request_target import canonical_path, parse_authority, parse_target


@pytest.mark.parametrize(
    ("target", "path", "query", "has_query", "authority"),
    [
        (b"/", "/", "", False, b""),
        (b"/a?b=c", "/a", "b=c", True, b""),
        (b"/a?", "/a", "", True, b""),
        (b"/a?b?c", "/a", "b?c", True, b""),
        (b"/a?\xfc", "/a", "%FC", True, b""),
        (b"//", "/", "", False, b""),
        (b"*", "*", "", False, b""),
        (b"http://a.example/x?y", "/x", "y", True, b"a.example"),
        (b"HTTPS://a.example:8443", "/", "", False, b"a.example:8443"),
        (b"http://a.example?y", "/", "y", True, b"a.example"),
    ],
)
def test_the_parts_of_a_target(target: bytes, path: str, query: str, has_query: bool, authority: bytes) -> None:
    assert parse_target(target) == (target.decode("latin-1"), path, query, has_query, authority)


@pytest.mark.parametrize("target", [b"", b"a", b"ftp://a/", b"http://", b"http:///x", b"/a#b", b"/a?b#c"])
def test_targets_in_other_forms_are_refused(target: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_target(target)


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        (b"/a/b", "/a/b"),
        (b"/%61/%7Eb", "/a/~b"),
        (b"/a%2fb", "/a%2Fb"),
        (b"/a//b///c", "/a/b/c"),
        (b"/a/./b/../c", "/a/c"),
        (b"/a/..", "/"),
        (b"/a/.", "/a/"),
        (b"/a/%2e%2e/b", "/b"),
        (b"/\xc3\xbc", "/%C3%BC"),
        (b"/a b", "/a b"),
        (b"/...", "/..."),
    ],
)
def test_equivalent_paths_have_one_canonical_form(path: bytes, canonical: str) -> None:
    assert canonical_path(path) == canonical


@pytest.mark.parametrize(
    "path",
    [b"/..", b"/a/../..", b"/%2e%2e", b"/a\\b", b"/a;x/..;y/b", b"/..%2fa", b"/a%00", b"/a%", b"/a%g0", b"/a%2",
     b"/..%5ca"],
)  # fmt: skip
def test_ambiguous_paths_are_refused(path: bytes) -> None:
    with pytest.raises(BadRequest):
        canonical_path(path)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"Example.COM", "example.com"),
        (b"a.example.:80", "a.example"),
        (b"[::1]:443", "[::1]"),
        (b"127.0.0.1", "127.0.0.1"),
        (b"a:", "a"),
    ],
)
def test_a_host_is_lower_case_without_port(authority: bytes, host: str) -> None:
    assert parse_authority(authority) == host


@pytest.mark.parametrize("authority", [b"", b":80", b".", b"a:65536", b"a:x", b"a@b", b"a b", b"[::1", b"a" * 513])
def test_a_bad_host_is_refused(authority: bytes) -> None:
    with pytest.raises(BadRequest, match="bad host"):
        parse_authority(authority)
