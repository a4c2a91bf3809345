"""The command line: any order, both dashes, `-to` with the listener before it, and errors that name the remedy.

Covers `cli.hints`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.cli.arguments import Arguments, UsageError, parse_arguments


def parse(line: str) -> Arguments:
    return parse_arguments(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "https://:443 http://:80 -cert a.pem -key b.pem -c 4096",
        "-cert a.pem -key b.pem -c 4096 https://:443 http://:80",
        "https://:443 --cert=a.pem --key=b.pem http://:80 -c=4096",
        "-c=4096 https://:443 --cert a.pem http://:80 -key=b.pem",
        "https://:443 http://:80 --backlog 4096 -cert a.pem -key b.pem",
    ],
)
def test_order_and_spelling_do_not_matter(line: str) -> None:
    arguments = parse(line)
    assert [one.uri for one in arguments.listeners] == ["https://:443", "http://:80"]
    assert (arguments.cert, arguments.key, arguments.backlog) == ("a.pem", "b.pem", 4096)


@pytest.mark.parametrize("option", ["-to", "--to", "-L"])
def test_to_belongs_to_the_listener_before_it(option: str) -> None:
    arguments = parse(f"tcp://:1 {option} a:1 udp://:2 tcp://:3 {option} c:1 {option}=c:2 -workers 2")
    assert [one.targets for one in arguments.listeners] == [["a:1"], [], ["c:1", "c:2"]]


def test_to_before_any_listener_belongs_to_the_first() -> None:
    arguments = parse("-to a:1 tcp://:1 -to b:1 tcp://:2")
    assert [one.targets for one in arguments.listeners] == [["a:1", "b:1"], []]


def test_every_other_option_is_read() -> None:
    arguments = parse("-config a.json -root ./x -workers 0 -watch -pidfile p")
    assert (arguments.config, arguments.root, arguments.workers) == ("a.json", "./x", 0)
    assert (arguments.watch, arguments.pidfile) == (True, "p")


def test_certificates_of_a_ca_are_asked_for() -> None:
    arguments = parse("https://:443 -host a.example http://:80 -acme=me@a.example --host=*.a.example")
    assert (arguments.acme, arguments.hosts) == ("me@a.example", ["a.example", "*.a.example"])
    assert parse("-config a.json -acme auto").hosts == [], "the names are those of the file's rules"


@pytest.mark.parametrize("line", ["-version", "--version", "-v"])
def test_the_version_is_asked_for(line: str) -> None:
    assert parse(line).version


@pytest.mark.parametrize("line", ["-help", "--help", "-h"])
def test_help_is_asked_for(line: str) -> None:
    assert parse(line).help


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-confg a", "unknown option '-confg', did you mean -config?"),
        ("--worker 2", "unknown option '--worker', did you mean -workers?"),
        ("-zzz", "unknown option '-zzz', see npserver -help"),
        ("http://:80 -c", "-c requires a value"),
        ("http://:80 -root -watch", "-root requires a value"),
        ("http://:80 -c many", "-c expects a number from 1 to 65535, got 'many'"),
        ("http://:80 -c 0", "-c expects a number from 1 to 65535, got '0'"),
        ("http://:80 -workers -1", "-workers requires a value"),
        ("http://:80 -watch=yes", "-watch takes no value, got 'yes'"),
        ("http://:80 -root a -root b", "-root is given twice"),
        ("https://:443 -cert a", "-key is missing: -cert and -key must be given together"),
        ("https://:443 -key a", "-cert is missing: -cert and -key must be given together"),
        ("-to a:1", "-to 'a:1' has no listener: give one before it, such as tcp://:3307"),
        ("http://:80 http://:80", "listener 'http://:80' is given twice"),
        ("chek", "unknown command 'chek', did you mean 'check'?"),
        ("check", "a command comes before its options: npserver check ..."),
        ("--port 80", "there is no '--port': a listener is a URI, here http://:80"),
        ("-p=81", "there is no '-p': a listener is a URI, here http://:81"),
        ("--bind", "there is no '--bind': a listener is a URI, here http://:8080"),
        ("-d site", "there is no '-d': the directory to serve is -root site"),
        ("--directory", "there is no '--directory': the directory to serve is -root DIR"),
        ("--upstream a:1", "there is no '--upstream': the target of a listener is -to a:1 after its URI"),
        ("-fpm /run/a", "there is no '-fpm': PHP scripts are run by -php /run/a beside -root DIR"),
        ("-php /run/a", "-php needs a listener that speaks HTTP and has no -to, such as http://:8080"),
        (
            "tcp://:1 http://:80 -to a:1 -php /run/a",
            "-php needs a listener that speaks HTTP and has no -to, such as http://:8080",
        ),
        ("--tls", "there is no '--tls': TLS is https://:443 or ssl://:PORT with -cert FILE -key FILE"),
        ("--domain a.example", "there is no '--domain': a certificate of Let's Encrypt is -acme EMAIL -host NAME"),
        ("--email me@a.example", "there is no '--email': a certificate of Let's Encrypt is -acme EMAIL -host NAME"),
        (
            "https://:443 -acme me@a.example",
            "-host is missing: -acme orders a certificate for each name given by -host NAME",
        ),
        ("https://:443 -host a.example -acme", "-acme requires a value"),
        ("https://:443 -acme -host a.example", "-acme requires a value"),
        (
            "https://:443 -acme a.example -host a.example",
            "-acme expects an address such as me@example.com, or auto, got 'a.example'",
        ),
        (
            "https://:443 -acme auto -acme auto -host a.example",
            "-acme is given twice",
        ),
        (
            "https://:443 -acme auto -host a.example,b.example",
            "-host expects one name, got 'a.example,b.example': repeat -host for each",
        ),
        (
            "https://:443 -acme auto -host https://a.example",
            "-host expects a name such as example.com, got 'https://a.example'",
        ),
        (
            "https://:443 -acme auto -host a.example -cert a -key b",
            "-acme and -cert exclude each other: leave one of them out",
        ),
        (
            "http://:8080 -host 127.0.0.1",
            "-host '127.0.0.1' is a name for -acme EMAIL, which is missing: a listener is a URI, here http://127.0.0.1:80",
        ),
        ("-f a.json", "there is no '-f': the config file is -config a.json"),
        ("start", "there is no command 'start': npserver serves when it is given a URI or -config FILE"),
        ("quit", "there is no command 'quit': npserver stop -config FILE shuts a server down"),
    ],
)
def test_errors_are_one_line_with_the_remedy(line: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(line)
    assert str(raised.value) == message


@pytest.mark.parametrize("word", ["htp://:80", "http://:99999", "8080", "http://:80/x", "tcp://:", "\x1b[31m://x"])
def test_faulty_uris_are_one_line(word: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_arguments([word])
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)


def test_a_directory_or_file_is_told_how_to_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "public").mkdir()
    (tmp_path / "site.json").write_text("{}")
    for word, message in (
        ("./public", "'./public' is a directory: to serve its files, run npserver http://:8080 -root ./public"),
        ("site.json", "'site.json' is a file: if it is the config, run npserver -config site.json"),
        ("missing", "scheme missing in 'missing', expected as in 'http://missing'"),
    ):
        with pytest.raises(UsageError) as raised:
            parse(word)
        assert str(raised.value) == message
