"""The handlers of HTTP requests: each is a folder beside this module, and one entry of `HANDLERS`.

An entry says everything that other packages need to know about a handler; they never name one. `program.kinds` adds the
handlers that do not speak HTTP. `config.schema.AnyRule` lists the same sections for the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from npserver.address import HTTP
from npserver.web.config import Rule
from npserver.web.handlers.fastcgi.config import FastcgiRule
from npserver.web.handlers.proxy.config import ProxyRule
from npserver.web.handlers.redirect.config import RedirectRule
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static.config import StaticRule
from npserver.web.handlers.status.config import StatusRule

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.listen.listener import Listener
    from npserver.runtime.compilation import Compilation
    from npserver.web.exchange import Handler

R = TypeVar("R", bound=Rule)


def _no_targets(rule: Rule) -> Iterable[str]:
    return ()


class HandlerKind(Struct, Generic[R], frozen=True):
    """A handler that rules can name: its section of the config, and how to compile and describe it."""

    #: The rule's section: a subclass of `web.config.HttpRule`, with the handler's name as its tag.
    section: type[R]
    #: Its text in the table of rules at the start: `files from ./public`.
    describe: Callable[[R], str]
    #: Makes the object that answers HTTP requests from the compilation, the rule's path in the config and the rule;
    #: None, with an error in the report, if it cannot. A function, or `module:function` to import it on first use.
    handler: str | Callable[[Compilation, Path, R], Handler | None] = ""
    #: Makes the front of a listener of another protocol than HTTP from the compilation, the listener and its rules.
    front: str | Callable[..., Any] = ""
    #: Checks a rule with one of its listeners: `(compilation, path, rule, listener)`.
    check: str | Callable[[Compilation, Path, R, Listener], None] = ""
    #: The URIs of the targets that a rule names, whose host names must be looked up again and again.
    targets: Callable[[R], Iterable[str]] = _no_targets
    #: What it serves, in the words of `address.SCHEMES`.
    protocols: frozenset[str] = frozenset({HTTP})
    #: Whether it serves one path and those below it, so that a `path` that ends in a slash is likely meant with a star.
    has_paths_below: bool = False
    log_area: str = "http"  # of `observe.config.AREAS`

    @property
    def name(self) -> str:
        """The handler as the config writes it."""
        return str(self.section.__struct_config__.tag)

    @property
    def is_http(self) -> bool:
        """Whether it answers HTTP requests of any kind; a name server answers DNS, over HTTP too."""
        return HTTP in self.protocols


def load(place: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that stands in a kind, imported if only its place is named."""
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


HANDLERS = (
    HandlerKind(
        StaticRule,
        lambda rule: f"files from {rule.root}",
        "npserver.web.handlers.static.compile:compile_static",
        has_paths_below=True,
        log_area="static",
    ),
    HandlerKind(
        ProxyRule,
        lambda rule: f"proxy to {', '.join([rule.proxy_pass, *rule.split])}",
        "npserver.web.handlers.proxy.compile:compile_proxy",
        targets=lambda rule: [rule.proxy_pass, *rule.split, *([rule.mirror.to] if rule.mirror else ())],
        has_paths_below=True,
        log_area="proxy",
    ),
    HandlerKind(
        FastcgiRule,
        lambda rule: f"scripts and files from {rule.root}, FastCGI to {rule.to}",
        "npserver.web.handlers.fastcgi.compile:compile_fastcgi",
        targets=lambda rule: [rule.to],
        has_paths_below=True,
        log_area="proxy",
    ),
    HandlerKind(
        RedirectRule,
        lambda rule: f"redirect to {rule.to}" if rule.to is not None else "redirects of moved paths",
        "npserver.web.handlers.redirect.compile:compile_redirect",
    ),
    HandlerKind(
        RespondRule,
        lambda rule: f"respond {rule.status}",
        "npserver.web.handlers.respond.compile:compile_respond",
    ),
    HandlerKind(
        StatusRule,
        lambda rule: "status page",
        "npserver.web.handlers.status.compile:compile_status",
        check="npserver.web.handlers.status.compile:check_status",
    ),
)
