"""Networks that the config names or writes out."""

from __future__ import annotations

from npserver.config.document import Document
from npserver.config.jsonc import parse
from npserver.config.networks import check_networks, compile_networks
from npserver.config.report import Report
from npserver.config.schema import Config


class TestConfig:
    """Names in the config."""

    @staticmethod
    def report() -> Report:
        config = Config(networks={"office": ["10.0.0.0/8", "2001:db8::/32"], "broken": ["10.0.0.1/8", "192.0.2.0/24"]})
        text = '{"networks": {\n"broken": [\n      "10.0.0.1/8"]},\n\n\n\n\n"allow":\n "ofice"}'
        return Report(Document(config, "npserver.json", places=parse(text).places))

    def test_by_name_and_by_text(self) -> None:
        report = self.report()
        found = compile_networks(report, ("allow",), ["office", "192.0.2.1"])
        assert found is not None
        assert [ip in found for ip in ("10.1.1.1", "2001:db8::9", "192.0.2.1", "192.0.2.2")] == [True] * 3 + [False]
        assert report.problems == []

    def test_clients_of_unix_sockets_are_in_a_network_that_says_so(self) -> None:
        config = Config(networks={"local": ["127.0.0.0/8", "unix:"]})
        report = Report(Document(config, "npserver.json", places=parse("{}").places))
        check_networks(report)
        for names in ("unix:", ["10.0.0.0/8", "unix:"], "local"):
            found = compile_networks(report, ("allow",), names)
            assert found is not None and found
            assert "unix:" in found
        others = compile_networks(report, ("allow",), "10.0.0.0/8")
        assert others is not None and "unix:" not in others
        assert report.problems == []

    def test_where_nothing_is_named_there_is_no_set(self) -> None:
        assert compile_networks(self.report(), ("allow",), []) is None

    def test_unknown_names_are_errors_with_a_hint(self) -> None:
        report = self.report()
        compile_networks(report, ("allow",), "ofice")
        assert [str(problem) for problem in report.problems] == [
            "npserver.json:9:2: unknown network 'ofice', did you mean 'office'?"
        ]

    def test_a_bad_text_is_reported_where_it_stands(self) -> None:
        report = self.report()
        check_networks(report)
        found = compile_networks(report, ("allow",), "broken")
        assert found is not None and "192.0.2.3" in found
        assert [str(problem) for problem in report.problems] == [
            "npserver.json:3:7: network '10.0.0.1/8': has bits set beyond its prefix, did you mean 10.0.0.0/8?"
        ]

    def test_a_name_that_would_hide_an_address_is_an_error(self) -> None:
        names = ["", "10.0.0.0/8", "192.0.2.1", "::1", "unix:", "team:a", "office/2", "365"]
        report = Report(Document(Config(networks={name: ["192.0.2.0/24"] for name in names}), "a.json"))
        check_networks(report)
        refused = [problem.message.rpartition(" ")[2].strip("'") for problem in report.problems]
        assert refused == ["", "10.0.0.0/8", "192.0.2.1", "::1", "unix:"]

    def test_a_list_where_everything_is_wrong_lets_nobody_in(self) -> None:
        report = self.report()
        found = compile_networks(report, ("allow",), ["300.0.0.0/8"])
        assert found is not None and not found and "10.0.0.1" not in found
        assert len(report.problems) == 1
