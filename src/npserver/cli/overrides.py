"""Convert command-line arguments to a config, or apply them to the config of a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from npserver.address import DATAGRAMS, HTTP, HTTP_ONLY, parse_listen, schemes_reaching, schemes_serving
from npserver.config.document import COMMAND_LINE, Document
from npserver.config.jsonc import Path
from npserver.config.schema import AnyRule, Config
from npserver.errors import ConfigError, Problem
from npserver.forward.config import ForwardRule
from npserver.listen.config import Listen
from npserver.tls.acme.config import Acme
from npserver.tls.config import Tls
from npserver.upstream.config import UpstreamSection
from npserver.web.handlers.fastcgi.config import FastcgiRule
from npserver.web.handlers.proxy.config import ProxyRule


def from_arguments(
    listeners: Sequence[tuple[str, Sequence[str]]],
    *,
    cert: str | None = None,
    key: str | None = None,
    acme: str | None = None,
    hosts: Sequence[str] = (),
    root: str | None = None,
    php: str | None = None,
    backlog: int | None = None,
    workers: int | None = None,
    base: Document | None = None,
) -> Document:
    """Return the config that a command line describes. `listeners` are the URIs, each with its `-to` targets.

    A listener with several targets gets an upstream that balances the load over them. `acme` asks for certificates of
    Let's Encrypt for the names in `hosts`, or without any for the hosts of the rules: it is the address for the CA, or
    "auto" for none. `php` is the FastCGI server that runs the PHP scripts of HTTP listeners without targets. With
    `base`, the config of a file, listeners are added to it and settings override its own.

    Raises: ConfigError for a setting with an invalid value.
    """
    base = base or Document(Config(), COMMAND_LINE)
    changes = _settings(cert, key, {"root": root, "backlog": backlog, "workers": workers})
    if acme is not None:
        changes["tls"] = Tls(acme=Acme(email="" if acme == "auto" else acme), names=list(hosts))
    changed: set[Path] = {(name,) for name in changes}
    listen: list[str | Listen] = list(base.config.listen)
    dispatch: list[AnyRule] = list(base.config.dispatch)
    upstreams: dict[str, UpstreamSection] = dict(base.config.upstreams)
    for uri, targets in listeners:
        changed.add(("listen", len(listen)))
        listen.append(uri)
        if php is not None and not targets and uri.partition("://")[0].lower() in schemes_serving(HTTP):
            changed.add(("dispatch", len(dispatch)))
            scripts = FastcgiRule(listener=uri, to=_fastcgi_server(php))
            dispatch.append(scripts if root is None else msgspec.structs.replace(scripts, root=root))
        if targets:
            changed.add(("dispatch", len(dispatch)))
            rule, upstream = _rule(uri, targets, f"command-line-{len(listen)}")
            dispatch.append(rule)
            if upstream is not None:
                changed.add(("upstreams", name := f"command-line-{len(listen)}"))
                upstreams[name] = upstream
    if acme is not None and not any(map(_is_tls, listen)):
        raise ConfigError([Problem("-acme requires a listener for TLS, such as https://:443", COMMAND_LINE)])
    config = msgspec.structs.replace(base.config, listen=listen, dispatch=dispatch, upstreams=upstreams, **changes)
    return msgspec.structs.replace(base, config=config, from_arguments=base.from_arguments | changed)


def _is_tls(entry: str | Listen) -> bool:
    try:
        return parse_listen(entry if isinstance(entry, str) else entry.uri).is_tls
    except ValueError:
        return False  # reported where listeners are compiled


def _settings(cert: str | None, key: str | None, others: dict[str, str | int | None]) -> dict[str, Any]:
    """Return the settings given, validated like those of a file. Raises: ConfigError."""
    from npserver.config.decode import ConfigDecoder
    from npserver.config.shape import section_keys

    given: dict[str, Any] = {name: value for name, value in others.items() if value is not None}
    decoder = ConfigDecoder()
    for name, value in given.items():
        decoder.convert(value, section_keys(Config)[name].shape, (name,))
    problems = [Problem(fault.message, COMMAND_LINE) for fault in decoder.faults]
    if cert is not None and key is not None:
        given["tls"] = Tls(cert=cert, key=key)
    elif cert is not None or key is not None:
        given_one, missing = ("-cert", "-key") if key is None else ("-key", "-cert")
        problems.append(Problem(f"{given_one} requires {missing}", COMMAND_LINE))
    if problems:
        raise ConfigError(problems)
    return given


def _rule(uri: str, targets: Sequence[str], name: str) -> tuple[AnyRule, UpstreamSection | None]:
    """Return the rule of a listener with `-to` targets, and the upstream `name` if there are several targets."""
    scheme = uri.partition("://")[0].lower()
    speaks_http = scheme in HTTP_ONLY
    full = [_target(scheme, target) for target in targets]
    destination = full[0] if len(full) == 1 else f"upstream://{name}"
    upstream = None if len(full) == 1 else UpstreamSection(targets=list(full))
    target = full[0].partition("://")[0].lower()
    if target in HTTP_ONLY or (speaks_http and target in schemes_reaching(HTTP)):
        return ProxyRule(listener=uri, proxy_pass=destination), upstream
    return ForwardRule(listener=uri, forward_to=destination), upstream


def _fastcgi_server(php: str) -> str:
    """Return the URI of a FastCGI server; what has a slash is the path of its socket, relative ones included."""
    path = php.removeprefix("unix:")  # as nginx writes it
    return f"unix://{os.path.abspath(path)}" if "/" in path and "://" not in php else _target("tcp", php)


def _target(scheme: str, to: str) -> str:
    """Return the URI of a `-to` target; without a scheme it gets the one that suits a listener of `scheme`."""
    if to.startswith("/"):
        return f"{'unixgram' if scheme == 'unixgram' else 'unix'}://{to}"
    if "://" not in to:
        is_datagram = scheme in schemes_serving(DATAGRAMS)
        return f"{'http' if scheme in HTTP_ONLY else 'udp' if is_datagram else 'tcp'}://{to}"
    return to
