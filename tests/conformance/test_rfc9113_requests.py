"""HTTP semantics over HTTP/2 (RFC 9113 §8): valid requests, and how malformed ones are refused."""

from __future__ import annotations

import pytest
from hyperframe import frame as frames

from tests.stage.http2 import GET, POST, Answer, Fields, connect

PROTOCOL_ERROR = 1


def without(name: str) -> Fields:
    return [pair for pair in GET if pair[0] != name]


def having(name: str, value: str) -> Fields:
    return [(key, value if key == name else old) for key, old in GET]


class TestSection8:
    """HTTP semantics."""

    def test_8_3_1_a_request_is_read(self) -> None:
        answer = connect().request([*having(":path", "/a/../b?c"), ("x", "y")])
        assert (answer["x-method"], answer["x-path"], answer["x-host"]) == ("GET", "/b", "example.com")
        assert [name for name, _ in answer.fields if name != name.lower()] == []
        assert answer.fields[0] == (":status", "200")

    def test_8_2_3_cookies_are_joined(self) -> None:
        assert connect().request([*GET, ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")])["x-cookie"] == "a=1; b=2"

    def test_8_1_trailers_are_read(self) -> None:
        client = connect()
        stream, answer = client.begin([*POST, ("te", "trailers")])
        client.send(frames.DataFrame(stream, b"body"), client.headers(stream, [("x-sum", "1")], "END_STREAM"))
        assert (answer.body, answer["x-trailers"]) == (b"body", r"b'x-sum: 1\r\n'")

    def test_8_1_forbidden_trailers_are_left_out(self) -> None:
        client = connect()
        stream, answer = client.begin(POST)
        client.send(client.headers(stream, [("authorization", "x"), ("x-sum", "1")], "END_STREAM"))
        assert answer["x-trailers"] == r"b'x-sum: 1\r\n'"

    def test_8_3_1_host_instead_of_authority(self) -> None:
        assert connect().request([*without(":authority"), ("host", "other.example")])["x-host"] == "other.example"

    def test_8_3_1_both_the_same(self) -> None:
        assert connect().request([*GET, ("host", "Example.com")])["x-host"] == "example.com"

    @pytest.mark.parametrize(
        "fields",
        [
            without(":method"),
            without(":path"),
            without(":scheme"),
            without(":authority"),
            [*GET, (":path", "/")],  # §8.3: once
            [*GET, (":status", "200")],  # §8.3: a response's
            [*GET, (":unknown", "x")],
            [("x", "y"), *GET],  # §8.3: pseudo-header fields come first
            [*GET[:2], ("x", "y"), *GET[2:]],
            having(":path", ""),
            having(":path", "x"),
            having(":path", "*"),  # OPTIONS only
            having(":path", "http://example.com/"),
            having(":method", "GE T"),
            having(":method", ""),
            having(":scheme", "ht tp"),
            having(":authority", ""),
            having(":authority", "user@example.com"),  # §8.3.1
            having(":authority", "a b"),
            having(":authority", "a/b"),
            [*GET, ("X-Upper", "y")],  # §8.2.1
            [*GET, ("x y", "z")],
            [*GET, ("x:y", "z")],
            [*GET, ("", "z")],
            [*GET, ("x", "a\r\nb")],
            [*GET, ("x", "a\nb")],
            [*GET, ("x", "a\0b")],
            [*GET, ("x", " a")],
            [*GET, ("x", "a ")],
            [*GET, ("connection", "close")],  # §8.2.2
            [*GET, ("keep-alive", "1")],
            [*GET, ("proxy-connection", "close")],
            [*GET, ("transfer-encoding", "chunked")],
            [*GET, ("upgrade", "websocket")],
            [*GET, ("te", "gzip")],
            [*GET, ("content-length", "5")],  # §8.1.1
            [*GET, ("content-length", "0"), ("content-length", "0")],
            [*GET, ("content-length", "+0")],
            [*GET, ("content-length", "")],
            [*GET, ("host", "example.com"), ("host", "example.com")],
        ],
    )
    def test_8_1_1_malformed_requests(self, fields: Fields) -> None:
        client = connect()
        assert client.request(fields) == Answer(reset=PROTOCOL_ERROR)
        assert client.request(GET).status == 200

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ([*GET, ("host", "other.example")], 400),  # §8.3.1
            ([*GET, ("host", "example.com:8443")], 400),
            (having(":authority", "example.com:99999"), 400),
            (having(":scheme", "ftp"), 400),
            (having(":path", "/../x"), 400),
            (having(":path", "/a%00"), 400),
            (having(":path", "/a\\b"), 400),
            (having(":path", "/a#b"), 400),
            (having(":path", "/" + "a" * 8192), 414),
            ([(":method", "CONNECT"), (":authority", "example.com:443")], 405),
            (having(":method", "TRACE"), 405),
            ([*GET, ("authorization", "a"), ("authorization", "b")], 400),
            ([*GET, ("expect", "more")], 417),
            ([*GET, *[(f"x-{number}", "y") for number in range(140)]], 431),
            ([*GET, *[(f"x-{number}", "y" * 16_000) for number in range(5)]], 431),
        ],
    )
    def test_requests_that_are_refused_as_in_http_1(self, fields: Fields, status: int) -> None:
        client = connect()
        block = client.encoder.encode(fields)
        pieces = [block[place : place + 16_000] for place in range(0, len(block), 16_000)]
        sent: list[frames.Frame] = [frames.HeadersFrame(1, pieces[0], flags=["END_STREAM"])]
        sent += [frames.ContinuationFrame(1, piece) for piece in pieces[1:]]
        sent[-1].flags.add("END_HEADERS")
        client.send(*sent)
        assert client.answers[1].status == status
        assert client.answers[1].has_ended
        if status == 405:  # RFC 9110 §15.5.6
            assert client.answers[1]["allow"] == "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"
        assert client.request(GET, stream=3).status == 200

    def test_options_of_the_server(self) -> None:
        fields = [(":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), (":authority", "x")]
        assert connect().request(fields).status == 204

    @pytest.mark.parametrize("body", [b"123", b"12345"])
    def test_8_1_1_length_other_than_declared(self, body: bytes) -> None:
        client = connect()
        stream, answer = client.begin([*POST, ("content-length", "4")])
        client.send(frames.DataFrame(stream, body, flags=["END_STREAM"]))
        assert answer == Answer(reset=PROTOCOL_ERROR)

    def test_8_1_1_trailers_that_end_nothing(self) -> None:
        client = connect()
        stream, answer = client.begin(POST)
        client.send(client.headers(stream, [("x", "y")]))
        assert answer.reset == PROTOCOL_ERROR

    def test_8_1_an_interim_answer(self) -> None:
        """RFC 9110 §10.1.1: 100 is sent once the body is read."""
        client = connect()
        stream, answer = client.begin([*POST, ("expect", "100-continue")])
        assert answer.interim == [[(":status", "100")]]
        client.send(frames.DataFrame(stream, b"x", flags=["END_STREAM"]))
        assert answer.body == b"x"

    def test_8_6_extended_connect_instead_of_upgrade(self) -> None:
        """RFC 8441 §3: it is offered; §4: only CONNECT may have `:protocol`."""
        client = connect()
        assert client.frames[0].settings[8] == 1
        fields = [(":method", "CONNECT"), (":protocol", "webtransport"), *GET[1:]]
        assert client.request(fields).status == 501
        assert client.request([GET[0], (":protocol", "websocket"), *GET[1:]]).reset == PROTOCOL_ERROR
