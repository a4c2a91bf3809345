"""The hosts of rules, as names for certificates."""

from __future__ import annotations

import pytest

from npserver.forward.config import ForwardRule
from npserver.nameserver.config import DnsRule
from npserver.program.hosts import hosts_of
from npserver.web.config import Rule
from npserver.web.handlers.respond.config import RespondRule


@pytest.mark.parametrize(
    ("rules", "hosts"),
    [
        ([], ()),
        ([RespondRule(body="x")], ("",)),
        ([RespondRule(body="x", host="NAS.home"), RespondRule(body="x", host="nas.home")], ("nas.home",)),
        ([RespondRule(body="x", host=["straße.home", "*.a.home", "[::1]", "a b", "*"])],
         ("xn--strae-oqa.home", "*.a.home", "::1", "")),
        ([ForwardRule(forward_to="tcp://x:1", sni="A.home."), ForwardRule(forward_to="tcp://x:1")], ("a.home", "")),
        ([DnsRule()], ("",)),
    ],
)  # fmt: skip
def test_hosts_of_rules(rules: list[Rule], hosts: tuple[str, ...]) -> None:
    assert hosts_of(rules) == hosts
