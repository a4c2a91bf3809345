"""What is asked, read from words."""

from __future__ import annotations

import pytest

from npserver.explain.question import Kind, Question, parse_question


@pytest.mark.parametrize(
    ("ask", "kind", "scheme", "host", "port", "authority", "target"),
    [
        ("http://nas.home", Kind.HTTP, "http", "nas.home", None, "nas.home", "/"),
        ("HTTPS://NAS.home:8443/a b?c=ä#d", Kind.HTTP, "https", "nas.home", 8443, "NAS.home:8443", "/a%20b?c=%C3%A4"),
        ("http://[::1]:80?x", Kind.HTTP, "http", "::1", 80, "[::1]:80", "/?x"),
        ("https://bücher.example/", Kind.HTTP, "https", "xn--bcher-kva.example", None, "xn--bcher-kva.example", "/"),
        ("tcp://:5432", Kind.CONNECTION, "tcp", "", 5432, "", "/"),
        ("udp://10.0.0.1:53", Kind.CONNECTION, "udp", "10.0.0.1", 53, "", "/"),
    ],
)
def test_urls_are_read(
    ask: str, kind: Kind, scheme: str, host: str, port: int | None, authority: str, target: str
) -> None:
    found = parse_question(ask)
    assert (found.kind, found.scheme, found.host, found.port) == (kind, scheme, host, port)
    assert (found.authority, found.target) == (authority, target)


@pytest.mark.parametrize(
    ("ask", "shown"),
    [
        ("nas.home", "dns:nas.home A"),
        ("dns:nas.home AAAA", "dns:nas.home AAAA"),
        ("dns:. NS", "dns:. NS"),
        ("dns:_sip._tcp.example.com srv", "dns:_sip._tcp.example.com SRV"),
    ],
)
def test_names_are_read(ask: str, shown: str) -> None:
    assert str(parse_question(ask)) == shown


def test_a_web_socket_is_an_upgrade() -> None:
    found = parse_question("wss://chat.example/x")
    assert found.scheme == "https"
    assert ("Upgrade", "websocket") in found.headers


def test_the_server_name_is_the_host_unless_it_is_an_address() -> None:
    assert parse_question("https://a.example/").server_name == "a.example"
    assert parse_question("https://10.0.0.1/").server_name == ""
    assert parse_question("https://a.example/", sni="B.example").server_name == "b.example"
    assert parse_question("https://a.example/", sni="").server_name == ""


@pytest.mark.parametrize(
    ("ask", "options", "message"),
    [
        ("nas.home/x", {}, "ask: scheme missing in 'nas.home/x': write http://nas.home/x"),
        ("ftp://x", {}, "ask: unknown scheme in 'ftp://x'"),
        ("", {}, "ask: expected a URL or a name"),
        ("http://x/\udcff", {}, "ask: 'http://x/\\udcff' has characters that are not printable: write them as %XX"),
        ("http://x/\r\nHost: y", {}, "ask: 'http://x/\\r\\nHost: y' has characters that are not printable"),
        ("a..b", {}, "ask: "),
        ("nas.home AAA", {}, "ask: unknown record type 'AAA'"),
        ("http://x:y/", {}, "ask: expected a port"),
        ("http://u@x/", {}, "ask: an address has no user name"),
        ("http://*/", {}, "ask: a host, not a star"),
        ("tcp://x", {}, "ask: port missing in 'tcp://x', expected as in 'tcp://x:443'"),
        ("tcp://x:1/y", {}, "ask: a connection has no path"),
        ("http://x/", {"client": "nobody"}, "from: expected an IP address"),
        ("http://x/", {"method": "G T"}, "method: 'G T' is not a method"),
        ("http://x/", {"headers": {"a b": "c"}}, "headers: 'a b' is not a valid header name"),
        ("http://x/", {"headers": {"a": "c\r\nd: e"}}, "headers: the value of a has a control character"),
        ("nas.home", {"method": "POST"}, "method: only HTTP requests have it"),
        ("tcp://x:1", {"headers": {"a": "b"}}, "headers: only HTTP requests have it"),
        ("nas.home", {"sni": "x"}, "sni: a DNS query has none"),
        (f"http://x/{'a' * 9000}", {}, "ask: longer than 8192 characters"),
    ],
)
def test_faults_name_the_key_and_the_remedy(ask: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_question(ask, **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_a_client_with_a_mapped_address_is_that_of_version_4() -> None:
    found: Question = parse_question("http://x/", client="::ffff:10.0.0.1")
    assert found.client == "10.0.0.1"
