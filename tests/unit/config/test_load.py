"""Loading configs: what becomes of good ones, and everything that is said about wrong ones.

Covers `config.decode`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from npserver.config.decode import ConfigDecoder
from npserver.config.document import Document
from npserver.config.load import load, load_text
from npserver.config.schema import Config
from npserver.config.shape import Key, all_sections, describe, section_keys
from npserver.config.units import Seconds, Size
from npserver.errors import ConfigError
from npserver.forward.config import ForwardRule
from npserver.listen.config import Listen
from npserver.tls.config import Tls
from npserver.upstream.config import TargetSection, UpstreamSection
from npserver.web.config import GlobalCompression
from npserver.web.handlers.static.config import StaticRule


def problems(text: str) -> list[str]:
    """Return the problems of a config, as the user sees them."""
    with pytest.raises(ConfigError) as error:
        load_text(text, "c.json")
    return [str(problem) for problem in error.value.problems]


#: A value of each JSON type, and the words for it in messages.
WRONG = [(None, "null"), (True, "true"), ({}, "an object"), ([], "a list"), (1.5, "1.5"), (-7, "-7"), ("?!", "'?!'")]
EVERY_KEY = {
    f"{section.__name__}.{name}": key for section in all_sections(Config) for name, key in section_keys(section).items()
}


def one_problem(text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


class TestGood:
    def test_nothing_said_is_all_defaults(self) -> None:
        assert load_text("{}", "c.json").config == Config()

    def test_every_kind_of_value_is_read(self) -> None:
        config = load_text(
            """{
              "$schema": "npserver.schema.json",
              "listen": ["http://:80", {"name": "a", "uri": "tcp://:1", "backlog": 7}],
              "tls": [{"cert": "c", "key": "k"}],
              "limits": {"max_body_size": "10m"},
              "timeouts": {"idle": "5m", "header": 2.5},
              "gzip": {"min_size": 1},
              "server_header": false,
              "upstreams": {"p": {"targets": ["http://a:1", {"uri": "http://b:1", "weight": 3}]}},
              "dispatch": [
                {"handler": "static", "gzip": false, "headers": {"X-A": null, "X-B": ["1", "2"]}},
                {"handler": "forward", "listener": ["a"], "forward_to": "tcp://b:1", "from": "10.0.0.0/8"}
              ],
              "dns": {"a.b": {"A": "10.0.0.1", "TTL": 5}}
            }""",
            "c.json",
        ).config
        assert config.listen == ["http://:80", Listen(name="a", uri="tcp://:1", backlog=7)]
        assert config.tls == [Tls(cert="c", key="k")]
        assert config.limits.max_body_size == 10 << 20
        assert isinstance(config.limits.max_body_size, Size)
        assert (config.timeouts.idle, config.timeouts.header) == (300, 2.5)
        assert isinstance(config.timeouts.idle, Seconds)
        assert config.gzip == GlobalCompression(min_size=Size(1))
        assert config.server_header is False
        assert config.upstreams == {
            "p": UpstreamSection(targets=["http://a:1", TargetSection(uri="http://b:1", weight=3)])
        }
        assert config.dispatch == [
            StaticRule(gzip=False, headers={"X-A": None, "X-B": ["1", "2"]}),
            ForwardRule(listener=["a"], forward_to="tcp://b:1", from_="10.0.0.0/8"),
        ]
        assert config.dns == {"a.b": {"A": "10.0.0.1", "TTL": 5}}

    def test_places_are_those_of_the_text(self) -> None:
        document = load_text('{\n  "dispatch": [\n    {"handler": "static", "root": "x"}]}', "dir/c.json")
        assert document.place(("dispatch", 0)) == "dir/c.json:3:5"
        assert document.place(("dispatch", 0, "root")) == "dir/c.json:3:35"
        assert document.key_position(("dispatch", 0, "root")) == (3, 27)
        assert document.directory == "dir"


class TestWrong:
    def test_all_problems_at_once_in_the_order_of_the_file(self) -> None:
        assert problems("""{
  "listn": [],
  "listen": [{"name": "web", "url": "http://:80"}, 5],
  "backlog": 0,
  "backlog": 1,
  "tls": {"cert": 5},
  "dispatch": [
    {"handler": "proxy", "index": "x"},
    {"handler": "statick"},
    {"handler": "static", "rot": "x"}
  ]
}""") == [
            "c.json:2:3: unknown key 'listn' in the config; did you mean 'listen'?",
            "c.json:3:14: 'listen' needs \"uri\"",
            "c.json:3:30: unknown key 'url' in 'listen'; did you mean 'uri'?",
            "c.json:3:52: 'listen': expected a string or an object, got 5",
            "c.json:5:3: key 'backlog' is given twice in the same object",
            "c.json:6:19: 'cert': expected a string, got 5",
            "c.json:8:5: handler 'proxy' needs \"proxy_pass\"",
            "c.json:8:26: 'index' belongs to handler 'static' and 'fastcgi', not 'proxy'",
            "c.json:9:17: unknown handler 'statick'; did you mean 'static'?",
            "c.json:10:27: unknown key 'rot' in handler 'static'; did you mean 'root'?",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[]", "1:1: the config: expected an object, got a list"),
            ("7", "1:1: the config: expected an object, got 7"),
            ('{"workers": true}', "1:13: 'workers': expected a whole number from 0 to 1024, got true"),
            ('{"workers": 1.0}', "1:13: 'workers': expected a whole number from 0 to 1024, got 1.0"),
            ('{"backlog": null}', "1:13: 'backlog': expected a whole number from 1 to 65535, got null"),
            ('{"dns_auto_ptr": "yes"}', "1:18: 'dns_auto_ptr': expected true or false, got 'yes'"),
            ('{"timeouts": {"idle": "10 parsecs"}}', '1:23: \'idle\': expected a time such as 10, "500ms" or "5m"'),
            ('{"timeouts": {"idle": -1}}', "got -1"),
            ('{"limits": {"max_body_size": "64q"}}', "1:30: 'max_body_size': expected a size such as 65536 or \"64k\""),
            ('{"max_body_size": 5}', "1:2: 'max_body_size' belongs inside 'limits'"),
            ('{"logging": {"level": "loud"}}', 'expected one of "trace", "debug", "info"'),
            ('{"logging": {"level": "warning"}}', "did you mean 'warn'?"),
            ('{"networks": {"lan": ["10.0.0.0/8", 5]}}', "1:37: 'lan': expected a string, got 5"),
            ('{"mime": {"a": {}}}', "1:16: 'a': expected a string, got an object"),
            ('{"root": "a\\u0000b"}', "1:10: 'root': NUL in 'a\\x00b'"),
            ('{"dns": {"a": "1.2.3.4"}}', "1:15: 'a': expected an object such as {\"A\": \"10.0.0.1\"}, got '1.2.3.4'"),
            ('{"dns": []}', "1:9: 'dns': expected an object, got a list"),
            ('{"upstreams": {"a": {}}}', "1:16: 'a' needs \"targets\""),
            ('{"upstreams": {"a": {"targets": [], "retries": 101}}}', "from 0 to 100, got 101"),
            (
                '{"upstreams": {"a": {"targets": [], "balance": "round-robbin"}}}',
                "got 'round-robbin'; did you mean 'round-robin'?",
            ),
            ('{"dispatch": [{"proxy_pass": "x"}]}', '1:15: a rule needs "handler"; did you mean "proxy"?'),
            ('{"dispatch": [{"path": "/"}]}', 'a rule needs "handler"; expected one of "static", "proxy", "fastcgi"'),
            ('{"dispatch": [{"handler": 5}]}', '1:27: \'handler\': expected one of "static", "proxy"'),
            ('{"dispatch": ["static"]}', "1:15: 'dispatch': expected an object, got 'static'"),
            (
                '{"dispatch": [{"handler": "redirect", "to": "/", "status": 200}]}',
                "expected one of 301, 302, 303, 307, 308",
            ),
            ('{"dispatch": [{"handler": "respond", "status": 600}]}', "from 200 to 599, got 600"),
            (
                '{"dispatch": [{"handler": "static", "retries": 1}]}',
                "1:37: 'retries' belongs to handler 'proxy' and 'fastcgi', not 'static'",
            ),
            (
                '{"dispatch": [{"handler": "dns", "buffer_size": 1}]}',
                "'buffer_size' belongs to handler 'proxy' and 'fastcgi' and 'forward', not 'dns'",
            ),
            (
                '{"dispatch": [{"handler": "static", "Root": "x"}]}',
                "unknown key 'Root' in handler 'static'; did you mean 'root'?",
            ),
            (
                '{"tls": {"acme": {"domains": ["example.com"]}}}',
                "1:19: unknown key 'domains' in 'acme'; the names of certificates are the hosts of the rules, or stand",
            ),
            ('{"tls": {"http3": true}}', "1:10: unknown key 'http3' in 'tls'; it is a key of the listener"),
            ('{"http3": true}', "1:2: unknown key 'http3' in the config; it is a key of a listener"),
            ('{"http2": true}', "1:2: unknown key 'http2' in the config; it is a key of a listener"),
            (
                '{"dispatch": [{"handler": "proxy", "proxy_pass": "https://a", "http2": true}]}',
                "1:63: unknown key 'http2' in handler 'proxy'; targets are \"h2c://host:port\", or https with",
            ),
        ],
    )
    def test_each_mistake_has_its_message(self, text: str, message: str) -> None:
        assert message in one_problem(text)

    def test_broken_json_is_one_precise_problem(self) -> None:
        assert one_problem('{\n  "listen": []\n  "tls": {}\n}') == "c.json:3:3: expected ',' or '}', got '\"tls\"'"

    def test_values_are_clipped(self) -> None:
        assert len(one_problem('{"backlog": "' + "x" * 10_000 + '"}')) < 200


class TestFiles:
    def test_a_file_is_read(self, tmp_path: Path) -> None:
        file = tmp_path / "c.json"
        file.write_bytes(b'\xef\xbb\xbf{"backlog": 7} // \xc3\xa4')
        document = load(str(file))
        assert (document.config.backlog, document.directory) == (7, str(tmp_path))

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b'{\n "a\xff": 1}', ":2:4: not UTF-8: byte 0xff"),
            ("{}".encode("utf-16"), ":1:1: the config is UTF-16, expected UTF-8"),
            (b"", ":1:1: nothing in the file"),
        ],
    )
    def test_a_file_that_is_no_text_is_refused(self, tmp_path: Path, data: bytes, message: str) -> None:
        file = tmp_path / "c.json"
        file.write_bytes(data)
        with pytest.raises(ConfigError) as error:
            load(str(file))
        assert str(error.value).startswith(f"{file}{message}")

    def test_missing_files_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.json: cannot read the config: No such file or directory"):
            load(str(tmp_path / "none.json"))
        with pytest.raises(ConfigError, match="cannot read the config: Is a directory"):
            load(str(tmp_path))

    def test_names_of_files_start_beside_the_config_or_at_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "beside").touch()
        (tmp_path / "here").touch()
        monkeypatch.chdir(tmp_path)
        document = Document(Config(), "etc/c.json", "etc")
        assert document.resolve("beside") == os.path.join("etc", "beside")
        assert document.resolve("here") == "here"
        assert document.resolve("nowhere") == "nowhere"
        assert document.resolve(str(tmp_path / "here")) == str(tmp_path / "here")


@pytest.mark.parametrize("key", EVERY_KEY.values(), ids=EVERY_KEY)
def test_a_value_of_the_wrong_type_is_told_with_what_the_key_takes(key: Key) -> None:
    refused = 0
    for value, words in WRONG:
        decoder = ConfigDecoder()
        decoder.convert(value, key.shape, (key.name,))
        for fault in decoder.faults:
            if not fault.is_key:
                refused += 1
                assert fault.message == f"{key.name!r}: expected {describe(key.shape)}, got {words}"
    assert refused >= 3  # of a key that takes text, an object, a list or null


@pytest.mark.parametrize(("value", "words"), WRONG[:-1], ids=[words for _, words in WRONG[:-1]])
def test_a_handler_of_the_wrong_type_is_told_with_all_there_are(value: object, words: str) -> None:
    text = json.dumps({"dispatch": [{"handler": value}]})
    known = '"static", "proxy", "fastcgi", "forward", "dns", "redirect", "respond", "status"'
    assert one_problem(text) == f"c.json:1:27: 'handler': expected one of {known}, got {words}"
