"""Records of FastCGI 1.0, by their sections in the specification."""

from __future__ import annotations

import pytest

from npserver.errors import BadResponse
from npserver.upstream.fastcgi_records import (
    MAX_CONTENT_BYTES,
    RecordReader,
    refusal_of,
    write_head,
    write_pair,
    write_stdin,
)
from tests.stage.fastcgi import BEGIN, END, PARAMS, STDERR, STDIN, STDOUT, end, pairs, record, records


class TestRequests:
    @pytest.mark.parametrize("keep", [False, True])
    def test_a_request_begins_with_its_role_and_flags_3_5(self, keep: bool) -> None:
        found = [*records(write_head(write_pair(b"A", b"b"), keep=keep))]
        assert found == [
            (BEGIN, 1, bytes((0, 1, keep, 0, 0, 0, 0, 0))),
            (PARAMS, 1, b"\x01\x01Ab"),
            (PARAMS, 1, b""),
        ]

    @pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 70_000])
    def test_lengths_take_one_byte_or_four_3_4(self, size: int) -> None:
        name, value = b"n" * size, b"v" * size
        assert pairs(write_pair(name, b"") + write_pair(b"", value) if size else b"") in ({}, {name: b"", b"": value})
        assert write_pair(name, value)[0] == min(128, size)

    def test_pairs_are_not_divided_between_records(self) -> None:
        """PHP reads each record of PARAMS by itself."""
        given = {b"N%d" % number: b"v" * 9000 for number in range(30)}
        contents = [
            content
            for kind, _, content in records(
                write_head(b"".join([write_pair(*pair) for pair in given.items()]), keep=True)
            )
            if kind == PARAMS
        ]
        assert contents.pop() == b""
        assert len(contents) == 5
        found: dict[bytes, bytes] = {}
        for content in contents:
            found |= pairs(content)
        assert found == given

    def test_a_pair_longer_than_a_record_is_divided(self) -> None:
        given = {b"A": b"a" * 10, b"B": b"b" * 200_000, b"C": b"c"}
        found = [*records(write_head(b"".join([write_pair(*pair) for pair in given.items()]), keep=True))][1:]
        assert pairs(b"".join([content for _, _, content in found])) == given
        assert [content for _, _, content in found].index(b"") == len(found) - 1

    @pytest.mark.parametrize("size", [1, MAX_CONTENT_BYTES, MAX_CONTENT_BYTES + 1, 300_000])
    def test_a_body_is_divided_into_records(self, size: int) -> None:
        data = bytes(range(256)) * (size // 256 + 1)
        found = [*records(write_stdin(data[:size]))]
        assert {kind for kind, _, _ in found} == {STDIN}
        assert b"".join([content for _, _, content in found]) == data[:size]
        assert b"" not in [content for _, _, content in found]  # it would end the body

    def test_no_data_is_no_record(self) -> None:
        assert write_stdin(b"") == b""


class TestResponses:
    def test_records_are_read_without_their_padding(self) -> None:
        reader = RecordReader()
        data = record(STDOUT, b"one", padding=5) + record(STDERR, b"two", padding=255) + end()
        assert reader.feed(data) == [(STDOUT, b"one"), (STDERR, b"two"), (END, bytes(8))]
        assert reader.is_between_records

    def test_a_record_is_returned_when_its_padding_has_come(self) -> None:
        reader = RecordReader()
        data = record(STDOUT, b"one", padding=3)
        assert reader.feed(data[:-1]) == []
        assert not reader.is_between_records
        assert reader.feed(data[-1:]) == [(STDOUT, b"one")]

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (record(STDOUT, b"x", version=2), "not a FastCGI record: b'\\x02"),
            (b"HTTP/1.1 400 Bad Request\r\n", "(HTTP: use handler 'proxy')"),
            (record(STDOUT, b"x", request=2), "record of request 2, which was never sent"),
            (record(11, bytes(8), request=0), "record of type 11, which no request asked for"),
            (record(STDIN, b"x"), "record of type 5"),
            (record(99, b"x"), "record of type 99"),
        ],
    )
    def test_other_records_are_faults(self, data: bytes, fault: str) -> None:
        reader = RecordReader()
        assert reader.feed(record(STDOUT, b"good") + data) == [(STDOUT, b"good")]
        assert fault in reader.fault
        assert not reader.is_between_records
        assert reader.feed(record(STDOUT, b"more")) == []

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (end()[8:], ""),
            (end(255)[8:], ""),
            (end(0, 1)[8:], "it takes one request per connection"),
            (end(0, 2)[8:], "it is overloaded"),
            (end(0, 3)[8:], "it does not know the role of a responder"),
        ],
    )
    def test_the_end_tells_whether_a_request_was_processed_5_5(self, content: bytes, reason: str) -> None:
        assert refusal_of(content) == reason

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (end(0, 9)[8:], "END_REQUEST with protocol status 9"),
            (b"", "END_REQUEST has 0 bytes"),
            (bytes(9), "END_REQUEST has 9 bytes"),
        ],
    )
    def test_an_end_that_does_not_tell_it_is_a_fault(self, content: bytes, fault: str) -> None:
        with pytest.raises(BadResponse, match=fault):
            refusal_of(content)
