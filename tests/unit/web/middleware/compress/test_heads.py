"""What compression makes of the field lines of responses."""

from __future__ import annotations

import pytest

from npserver.http.media_types import MediaTypes
from npserver.web.middleware.compress.heads import Heads, forbids_transforming, weakened

JSON = b"Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("fields", "is_compressible"),
    [
        (JSON, True),
        (b"content-type:Text/HTML; charset=utf-8\r\n", True),
        (b"Content-Type: application/problem+json\r\n", True),
        (b"Content-Type: application/x-own\r\n", True),
        (b"Content-Type: image/png\r\n", False),
        (b"X-Y: 1\r\n", False),
        (b"", False),
        (JSON + b"Content-Encoding: br\r\n", False),
        (JSON + b"Content-Encoding: identity\r\n", False),
        (JSON + b"Content-Encoding: \r\n", True),
        (JSON + b"Content-Range: bytes 0-1/2\r\n", False),
        (JSON + b"Content-MD5: x\r\n", False),
        (JSON + b"Repr-Digest: sha-256=:x:\r\n", False),
        (JSON + b"Cache-Control: public, No-Transform\r\n", False),
        (JSON + b"Cache-Control: max-age=1\r\nCache-Control: no-transform\r\n", False),
        (JSON + b"Cache-Control: x-no-transform-x\r\n", True),
    ],
)
def test_what_is_compressed(fields: bytes, is_compressible: bool) -> None:
    heads = Heads(MediaTypes(compressed=["application/x-own"]))
    assert [heads.of(fields).is_compressible for _ in range(3)] == [is_compressible] * 3


def test_the_head_of_a_compressed_answer_has_no_ranges_and_a_weak_tag() -> None:
    decided = Heads(MediaTypes()).of(JSON + b'ETag: "a"\r\nAccept-Ranges: bytes\r\nVary: Origin\r\n')
    assert decided.coded == JSON + b'ETag: W/"a"\r\nVary: Origin, Accept-Encoding\r\n'
    assert decided.plain == JSON + b'ETag: "a"\r\nAccept-Ranges: bytes\r\nVary: Origin, Accept-Encoding\r\n'
    assert Heads(MediaTypes()).of(JSON + b'ETag: W/"a"\r\n').coded.startswith(JSON + b'ETag: W/"a"\r\n')


def test_event_streams_are_told_apart() -> None:
    heads = Heads(MediaTypes())
    assert heads.of(b"Content-Type: text/event-stream;charset=utf-8\r\n").is_event_stream
    assert not heads.of(b"Content-Type: text/event-streams\r\n").is_event_stream


def test_field_lines_longer_than_those_cached_are_decided_on_too() -> None:
    assert Heads(MediaTypes()).of(JSON + b"X: %b\r\n" % (b"x" * 5000)).is_compressible


@pytest.mark.parametrize(
    ("etag", "if_none_match", "is_weakened"),
    [
        (b'"a"', b'W/"a"', True),
        (b'"a"', b'"b", W/"a"', True),
        (b'"a"', b'"a"', False),
        (b'"a"', b'W/"a", "a"', False),  # it has both: the strong one is the better
        (b'"a"', b'W/"b"', False),
        (b'"a"', b"*", False),
        (b'"a"', None, False),
        (b'W/"a"', b'W/"a"', False),
    ],
)
def test_the_tag_of_a_304_is_that_which_the_client_has(
    etag: bytes, if_none_match: bytes | None, is_weakened: bool
) -> None:
    expected = b'ETag: W/"a"\r\nVary: Accept-Encoding\r\n' if is_weakened else b"ETag: %b\r\n" % etag
    assert weakened(b"ETag: %b\r\n" % etag, if_none_match) == expected


@pytest.mark.parametrize(
    ("value", "result"),
    [(b"no-transform", True), (b"a,NO-TRANSFORM ,b", True), (b"no-transformer", False), (b"", False)],
)
def test_no_transform_is_found(value: bytes, result: bool) -> None:
    assert forbids_transforming(value) is result
