"""Parts of the config that no listener serves, often for another error: checked too, so that one look is enough.

Called by `program.compile` last, when every listener has been compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.address import Address
from npserver.errors import clip
from npserver.listen.config import Listen
from npserver.listen.listener import Listener
from npserver.nameserver.config import DnsRule
from npserver.program.kinds import kind_of

if TYPE_CHECKING:
    from npserver.program.assignment import Assignment
    from npserver.runtime.compilation import Compilation

_TLS_SCHEMES = ("https://", "ssl://")


def check_unserved(compilation: Compilation, rules: Assignment) -> None:
    """Report what is wrong with HTTP rules that no listener got, and with records that no rule answers from."""
    config = compilation.config
    served = {index for assigned in rules.values() for index, _ in assigned}
    nowhere = Listener(key="", name="", address=Address("http"), backlog=0, place="")
    for index, rule in enumerate(config.dispatch):
        if index not in served and kind_of(rule).is_http:
            from npserver.web.compile import compile_http_front

            compile_http_front(compilation, nowhere, [(index, rule)], kind_of).close()
    listens = [one if isinstance(one, Listen) else Listen(uri=one) for one in config.listen]
    if config.tls and not any(one.tls is None and one.uri.lower().startswith(_TLS_SCHEMES) for one in listens):
        compilation.report.warn(("tls",), "'tls' is not used: no listener is https:// or ssl://, or each has its own")
    for name in compilation.document.unused:
        compilation.report.warn(("defaults", name), f'no rule has "use": {clip(name)}: name it in one, or remove it')
    if config.store is not None:
        from npserver.store.compile import STORE

        if STORE not in compilation.made:
            compilation.report.warn(("store",), "'store' is not used: nothing in this config is kept over a restart")
    if (config.dns or config.dns_views) and not any(isinstance(rule, DnsRule) for rule in config.dispatch):
        from npserver.nameserver.compile import NAME_SERVER

        key = "dns" if config.dns else "dns_views"
        compilation.report.warn((key,), f"'{key}' is not used: no rule has handler 'dns'")
        NAME_SERVER.of(compilation)
