"""Compiles `jwt` into the check of tokens, and the service that keeps the keys of the issuer up to date."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from npserver.errors import clip, reason_of
from npserver.http.field_names import TOKEN
from npserver.http.fields import NOT_FORWARDED
from npserver.network_sets.events import LEARNING
from npserver.runtime.compilation import PerCompilation
from npserver.runtime.http_get import parse_url
from npserver.tls.store import CERTIFICATES
from npserver.web.checks import rule_key
from npserver.web.middleware.jwt.check import JwtCheck, JwtSettings
from npserver.web.middleware.jwt.key_set import SECRET_ALGORITHMS, public_keys, secret_key
from npserver.web.middleware.jwt.key_source import KeyWatch, Place, key_source
from npserver.web.middleware.jwt.token import TokenRules
from npserver.web.signed_in import folded

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.middleware.jwt.config import Jwt
    from npserver.web.middleware.jwt.key_source import KeySource

MIN_SECRET_BYTES = 32  # RFC 7518 §3.2
#: Fields that npserver writes itself, or that carry the token.
_RESERVED = frozenset(name.decode() for name in NOT_FORWARDED) | {
    "authorization", "cookie", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
}  # fmt: skip
#: How the keys of a place are fetched, by its id: `refresh`, `timeout` and `max_keys_size` of the first rule with them.
_WATCHED: PerCompilation[dict[str, tuple[float, float, int]]] = PerCompilation(lambda _: {})


def compile_jwt(compilation: Compilation, path: Path, rule: HttpRule) -> JwtCheck | None:
    """Make the check of a rule's `jwt`; None if it has errors, which stand in the report."""
    section, report = rule.jwt, compilation.report
    if section is None:
        return None
    place, row = (*path, "jwt"), compilation.context.row
    source = None
    if (section.keys is None) == (section.secret is None):
        given = ", not both" if section.keys is not None else ""
        report.error(place, f"'jwt' needs either 'keys' or 'secret'{given}")
        return None
    if section.secret is not None and len(section.secret.encode()) < MIN_SECRET_BYTES:
        report.error((*place, "secret"), f"'secret' has fewer than {MIN_SECRET_BYTES} bytes: it could be guessed")
        return None
    for index, name in enumerate(section.algorithms):
        if (name in SECRET_ALGORITHMS) != (section.secret is not None):
            wanted = "'secret'" if name in SECRET_ALGORITHMS else "'keys'"
            report.error((*place, "algorithms", index), f"{name} needs {wanted}")
    if section.keys is not None:
        source = _compile_source(compilation, (*place, "keys"), section, rule_key(path, "jwt", "keys"))
        if source is None:
            return None
        _check_algorithms(report, place, section, source)
    if rule.basic_auth is not None:
        report.error(place, "'basic_auth' and 'jwt' of one rule both read Authorization: split the rule, or remove one")
    if section.audience is None:
        report.warn(place, "without 'audience', tokens that the issuer made for other applications come in")
    return JwtCheck(
        JwtSettings(
            TokenRules(
                frozenset(section.algorithms) or None,
                _values(section.issuer),
                _values(section.audience),
                float(section.leeway),
                int(section.max_token_size),
            ),
            source,
            () if section.secret is None else (secret_key(section.secret),),
            _compile_cookie(compilation, place, section),
            _compile_claims(compilation, place, section),
            section.user,
            rule_key(path, "jwt"),
            row,
            row.slot("jwt.passed"),
            row.slot("jwt.refused"),
            LEARNING.of(compilation).hook("login"),
        )
    )


def _compile_source(compilation: Compilation, path: Path, section: Jwt, key: str) -> KeySource | None:
    assert section.keys is not None
    report, context = compilation.report, compilation.context
    store, fault = None, ""
    if "://" in section.keys:
        from npserver.store.compile import STORE

        try:
            url = parse_url(section.keys)
        except ValueError as error:
            report.error(path, f"'keys': {error}")
            return None
        if url.address.scheme == "http" and not _is_near(url.address.host):
            report.warn(path, f"'keys': whoever is on the way to {url.address.host} could replace keys sent over http")
        place = Place(url, "", str(url.address))
        store = STORE.of(compilation)
    else:
        file = compilation.document.resolve(section.keys)
        place = Place(None, file, section.keys)
        source, compiled, known = key_source(context, place), compilation.document.compiled, f"jwt:{place.id}"
        try:
            compiled[known] = entries = public_keys(CERTIFICATES.of(context).files.read(file))
            source.take(entries)
        except OSError as error:
            fault = f"'keys': cannot read {clip(section.keys)}: {reason_of(error)}"
        except ValueError as error:
            fault = f"'keys': cannot use {clip(section.keys)}: {error}"
        if fault and not source.keys and known in compiled:
            source.take(compiled[known])  # as the master has read them, for a worker that starts later
        if fault and not source.keys:
            report.error(path, fault)
            return None
    watched = _WATCHED.of(compilation)
    terms = float(section.refresh), float(section.timeout), int(section.max_keys_size)
    if place.id in watched:
        if watched[place.id] != terms:
            names = "'refresh', 'timeout' and 'max_keys_size'"
            report.warn(path, f"'keys': an earlier rule has the same, whose {names} count: write those here")
        return key_source(context, place)
    watched[place.id] = terms
    refresh_s, timeout_s, max_bytes = terms
    compilation.services.append(
        KeyWatch(context, place, refresh_s=refresh_s, timeout_s=timeout_s, max_bytes=max_bytes, store=store, key=key)
    )
    return key_source(context, place)


def _check_algorithms(report: Report, place: Path, section: Jwt, source: KeySource) -> None:
    """Report that no token could be valid, if the keys are known already."""
    fitting = sorted(set().union(*(one.algorithms for one in source.keys)))
    if "://" not in (section.keys or "") and section.algorithms and not set(section.algorithms) & set(fitting):
        shown = ", ".join(fitting)
        report.error(
            (*place, "algorithms"), f"none of them is of the keys in {clip(section.keys or '')}, which have {shown}"
        )


def _compile_cookie(compilation: Compilation, place: Path, section: Jwt) -> bytes:
    if section.cookie is not None and not TOKEN.fullmatch(section.cookie):
        compilation.report.error((*place, "cookie"), f"{clip(section.cookie)} is not a valid cookie name")
    return (section.cookie or "").encode()


def _compile_claims(compilation: Compilation, place: Path, section: Jwt) -> tuple[tuple[bytes, str], ...]:
    found: dict[str, tuple[bytes, str]] = {}
    for name, claim in section.claims.items():
        where = (*place, "claims", name)
        if not TOKEN.fullmatch(name):
            compilation.report.error(where, f"{clip(name)} is not a valid header name")
        elif folded(name) in _RESERVED:
            compilation.report.error(where, f"{clip(name)} cannot hold a claim: npserver or the client writes it")
        elif folded(name) in found:
            compilation.report.error(where, f"{clip(name)} is given twice: remove one")
        elif not claim:
            compilation.report.error(where, f"{clip(name)} needs the name of a claim")
        elif claim.startswith("$"):
            compilation.report.error(
                where, f"{clip(claim)} is a variable, not a claim: write the name alone, or 'headers'"
            )
        else:
            found[folded(name)] = (name.encode(), claim)
    return tuple(found.values())


def _values(value: str | list[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    return frozenset([value] if isinstance(value, str) else value)


def _is_near(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or "." not in host
