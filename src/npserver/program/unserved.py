"""Parts of the config that no listener serves, often for another error: checked too, so that one look is enough.

Called by `build` last, when every listener has been compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.address import Address
from npserver.forward.config import ForwardRule
from npserver.listen.listener import Listener
from npserver.nameserver.config import DnsRule

if TYPE_CHECKING:
    from npserver.config.report import Report
    from npserver.program.assignment import Assignment
    from npserver.runtime.context import Context
    from npserver.upstream.group import Upstream


def check_unserved(report: Report, context: Context, rules: Assignment, upstreams: dict[str, Upstream]) -> None:
    """Report what is wrong with HTTP rules that no listener got, and with records that no rule answers from."""
    config = report.document.config
    served = {index for assigned in rules.values() for index, _ in assigned}
    nowhere = Listener(key="", name="", address=Address("http"), backlog=0, place="")
    for index, rule in enumerate(config.dispatch):
        if index not in served and not isinstance(rule, (ForwardRule, DnsRule)):
            from npserver.web.compile import compile_http_front

            compile_http_front(report, context, nowhere, [(index, rule)], upstreams).close()
    if (config.dns or config.dns_views) and not any(isinstance(rule, DnsRule) for rule in config.dispatch):
        from npserver.nameserver.compile import name_server

        key = "dns" if config.dns else "dns_views"
        report.warn((key,), f"'{key}' is not used: no rule has handler 'dns'")
        name_server(report, context, upstreams)
