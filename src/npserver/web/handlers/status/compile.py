"""Compiles status rules into handlers."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from npserver.config.networks import compile_networks
from npserver.config.report import Report
from npserver.networks import is_ip_address
from npserver.observe.process_usage import USAGE
from npserver.runtime.compilation import SUMMARY, PerCompilation
from npserver.tls.local_names import LOOPBACKS
from npserver.tls.states import PUBLISHER
from npserver.upstream.registry import TARGETS
from npserver.web.checks import rule_key
from npserver.web.config import HttpRule
from npserver.web.handlers.status.buttons import Buttons
from npserver.web.handlers.status.handler import StatusHandler
from npserver.web.request_times import SERIES

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.listen.listener import Listener
    from npserver.runtime.compilation import Compilation
    from npserver.web.handlers.status.config import StatusRule


_TOLD: PerCompilation[set[Path]] = PerCompilation(lambda _: set())  # rules with buttons for everybody


def compile_status(compilation: Compilation, path: Path, rule: StatusRule) -> StatusHandler:
    """Make the handler of a status rule. Have published for it the states of certificates, and what processes use."""
    PUBLISHER.of(compilation)
    context = compilation.context
    buttons = Buttons(context, path, rule) if rule.buttons else None
    targets, summary = TARGETS.of(compilation), SUMMARY.of(compilation)
    rules = enumerate(compilation.config.dispatch)
    paths = {rule_key(("dispatch", at)): one.path for at, one in rules if isinstance(one, HttpRule) and not one.name}
    series = SERIES.of(compilation)
    handler = StatusHandler(context, rule, targets, summary, rule_key(path, "viewers"), buttons, paths, series)

    def measure() -> None:
        USAGE.of(context)
        handler.start()

    compilation.activations.append(measure)
    return handler


def check_status(compilation: Compilation, path: Path, rule: StatusRule, listener: Listener) -> None:
    """Refuse buttons that anybody who reaches a listener could press."""
    if not rule.buttons or _is_near(listener) or _is_guarded(compilation, path, rule, listener):
        return
    told = _TOLD.of(compilation)
    if path in told:
        return
    told.add(path)
    compilation.report.error(
        (*path, "buttons"),
        f"'buttons': everybody who reaches {listener.name} could drain targets: add 'allow', 'basic_auth', "
        "'forward_auth' or 'jwt' to the rule, or name a listener on a loopback address",
    )


def _is_near(listener: Listener) -> bool:
    """Whether it can be reached from this machine only."""
    host = listener.address.host
    if listener.address.is_unix or host == "localhost":
        return True
    return is_ip_address(host) and any(ip_address(host) in network for network in LOOPBACKS)


def _is_guarded(compilation: Compilation, path: Path, rule: StatusRule, listener: Listener) -> bool:
    """Whether clients must show who they are, or come from certain networks."""
    if rule.basic_auth is not None or rule.forward_auth is not None or rule.jwt is not None:
        return True
    if listener.server_tls is not None:
        asked = [one.settings for one in listener.server_tls.certificates]
        if all(one.client_ca is not None and one.client_auth == "require" for one in asked):
            return True
    report = Report(compilation.document)  # the errors of these keys are told elsewhere
    allowed = [compile_networks(report, path, names) for names in (rule.allow, rule.from_)]
    return any(one is not None and not any(network.prefixlen == 0 for network in one.networks) for one in allowed)
