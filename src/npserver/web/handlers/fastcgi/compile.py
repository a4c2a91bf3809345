"""Compiles a `fastcgi` rule into its handler."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from npserver.address import parse_target
from npserver.config.identity import find_group, find_user
from npserver.config.report import placed
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.regex import regex
from npserver.upstream.compile import FASTCGI_TARGETS, find_upstream, single_target, time_responses
from npserver.web.checks import rule_key
from npserver.web.handlers.fastcgi.gateway import Gateway
from npserver.web.handlers.fastcgi.handler import FastcgiHandler
from npserver.web.handlers.fastcgi.params import Params
from npserver.web.handlers.fastcgi.scripts import Scripts
from npserver.web.handlers.proxy.compile import compile_settings, compile_spool, with_keys_of
from npserver.web.handlers.proxy.config import ProxyRule, ProxyTimeouts
from npserver.web.handlers.static.compile import compile_static, prefix_of
from npserver.web.handlers.static.config import StaticRule
from npserver.web.handlers.static.root import FileError, Root
from npserver.web.maps.compile import MAPS
from npserver.web.trusted_proxies import TRUSTED_PROXIES
from npserver.web.variables import Template, compile_template, variable_names

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.config.schema import Config
    from npserver.runtime.compilation import Compilation
    from npserver.upstream.group import Upstream
    from npserver.web.handlers.fastcgi.config import FastcgiRule

_ENDING = regex(r"\.[A-Za-z0-9_-]+")
_VARIABLE = regex(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def compile_fastcgi(compilation: Compilation, path: Path, rule: FastcgiRule) -> FastcgiHandler | None:
    """Make the handler of a fastcgi rule; None if it has errors, which stand in the report."""
    context, directory = compilation.context, compilation.document.resolve(rule.root)
    found = _compile_upstream(compilation, (*path, "to"), rule.to)
    endings = _compile_endings(compilation, path, rule)
    env = _compile_env(compilation, path, rule)
    index = _compile_index(compilation, path, rule, endings)
    fallback = _compile_fallback(compilation, path, rule, endings)
    _check_keepalive(compilation.report, path, rule)
    script_root = _compile_script_root(compilation, path, rule, directory)
    files = compile_static(compilation, path, _static_rule(rule, index, endings))
    if found is None or files is None:
        return None
    proxy_rule = _proxy_rule(rule)
    upstream = with_keys_of(proxy_rule, found)
    for target in upstream.targets:
        time_responses(compilation, target)
    settings = compile_settings(compilation, path, (*path, "to"), proxy_rule, upstream)
    spool = settings.request_spool or compile_spool(compilation, (*path, "request_buffering"), True)
    assert spool is not None
    scripts = Scripts(
        Root(directory, follow_symlinks=rule.follow_symlinks),
        prefix_of(rule),
        endings,
        index,
        fallback,
        shows_hidden=rule.dotfiles,
        check_interval_s=float(compilation.config.file_cache.check_interval),
    )
    gateway = Gateway(
        upstream,
        settings,
        scripts=scripts,
        params=Params(os.fsencode(script_root), env, TRUSTED_PROXIES.of(compilation)),
        max_age_s=float(rule.keepalive_time),
        error_bytes=int(rule.max_error_output),
        error_counter=context.row.slot("http.fastcgi.error_bytes"),
    )
    keys = {error: rule_key(path, "root") for error in FileError}
    keys[FileError.OUTSIDE] = rule_key(path, "follow_symlinks")
    return FastcgiHandler(gateway, scripts, files, spool, keys)


def _compile_upstream(compilation: Compilation, place: Path, uri: str) -> Upstream | None:
    """Return the upstream of `to`; None if it has errors."""
    report = compilation.report
    try:
        address = parse_target(uri, likely_scheme="tcp")
    except ValueError as error:
        report.error(place, str(error))
        return None
    if address.scheme != "upstream":
        if address.scheme not in FASTCGI_TARGETS:
            report.error(place, f"expected a tcp or unix target, or upstream://name, got {clip(str(address))}")
            return None
        if address.is_unix:
            _check_socket(report, place, address.path, compilation.config)
        return single_target(compilation, place, address)
    if address.path not in ("", "/"):
        report.error(place, f"a FastCGI server has no path, got {clip(address.path)}")
    upstream = find_upstream(compilation, place, address)
    if upstream is None:
        return None
    others = sorted({target.address.scheme for target in upstream.targets} - FASTCGI_TARGETS)
    if others:
        report.error(place, f"the targets of upstream {upstream.name!r} speak {', '.join(others)}, not FastCGI")
        return None
    if any(target.section.send_proxy for target in upstream.targets):
        report.error(place, f"upstream {upstream.name!r} has 'send_proxy': FastCGI servers do not understand it")
    check = upstream.section.health_check
    is_unix = all(target.address.is_unix for target in upstream.targets)
    if check is not None and (check.type in ("http", "grpc") or (check.type is None and is_unix)):
        report.error(
            ("upstreams", upstream.name, "health_check"),
            'health checks by HTTP, of targets that speak FastCGI: set \'type\' to "fastcgi" or "tcp"',
        )
    return upstream


def _check_socket(report: Report, place: Path, path: str, config: Config) -> None:
    """Warn of a socket that does not exist, as its server may start later, and of one that npserver may not use."""
    directory, name = os.path.split(path)
    if not os.path.exists(path):
        try:
            sockets = [one.name for one in os.scandir(directory) if stat.S_ISSOCK(one.stat().st_mode)]
        except OSError:
            sockets = []
        close = get_close_matches(name, sockets, 1)
        hint = f"; did you mean {os.path.join(directory, close[0])!r}?" if close else ""
        report.warn(place, f"there is no socket {clip(path)} yet: requests are answered with 502 until then{hint}")
    elif not stat.S_ISSOCK(os.stat(path).st_mode):
        report.check_error(place, f"{clip(path)} is not a socket: name that of PHP-FPM, 'listen' of its pool")
    elif not _may_connect(config, path):
        report.warn(place, f"no permission to connect to {clip(path)}: add npserver's user to the group of the socket")


def _may_connect(config: Config, path: str) -> bool:
    """Return whether the mode of a socket lets npserver connect, as its `user` if root checks the config."""
    if os.geteuid() or config.user is None:
        return os.access(path, os.W_OK)
    try:
        user = find_user(config.user)
        group = user.pw_gid if config.group is None else find_group(config.group)
    except ValueError:
        return True  # reported by `config.identity`
    status, groups = os.stat(path), os.getgrouplist(user.pw_name, group)
    is_owner = status.st_uid == user.pw_uid
    bit = stat.S_IWUSR if is_owner else stat.S_IWGRP if status.st_gid in groups else stat.S_IWOTH
    return not user.pw_uid or bool(status.st_mode & bit)


def _check_keepalive(report: Report, path: Path, rule: FastcgiRule) -> None:
    """Warn of keys about kept connections in a rule that keeps none."""
    for name, default in (("keepalive_pool_size", None), ("keepalive_time", 1)):
        if not rule.keepalive and getattr(rule, name) != default:
            report.warn((*path, name), f"{name!r} has no effect: set 'keepalive' to true")


def _compile_endings(compilation: Compilation, path: Path, rule: FastcgiRule) -> tuple[str, ...]:
    if not rule.split:
        compilation.report.error((*path, "split"), "'split' names no ending of scripts, such as \".php\"")
        return (".php",)
    endings = []
    for place, ending in placed((*path, "split"), rule.split):
        if not _ENDING.fullmatch(ending):
            compilation.report.error(place, f'{clip(ending)} is not the ending of a file name, such as ".php"')
        endings.append(ending.lower())
    return tuple(endings)


def _compile_index(
    compilation: Compilation, path: Path, rule: FastcgiRule, endings: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names in `index`. Those of files are checked with the rest of the static rule."""
    names = (rule.index,) if isinstance(rule.index, str) else tuple(rule.index)
    for name in names:
        if name.lower().endswith(endings) and (name.startswith("/") or ".." in name.split("/")):
            compilation.report.error((*path, "index"), f"'index': {clip(name)} is not a file name")
    return names


def _compile_env(compilation: Compilation, path: Path, rule: FastcgiRule) -> dict[bytes, Template]:
    env: dict[bytes, Template] = {}
    for name, text in rule.env.items():
        place = (*path, "env", name)
        if not _VARIABLE.fullmatch(name):
            compilation.report.error(place, f"{clip(name)} is not the name of a variable")
            continue
        if "upstream" in variable_names(text):
            compilation.report.error(place, "$upstream is empty: it is the target, which is chosen later")
        try:
            env[name.encode()] = compile_template(text, MAPS.of(compilation))
        except ValueError as error:
            compilation.report.error(place, str(error))
    return env


def _compile_fallback(compilation: Compilation, path: Path, rule: FastcgiRule, endings: tuple[str, ...]) -> str:
    """Return the path of the front controller below the root; empty if there is none."""
    if rule.fallback is None:
        return ""
    name = rule.fallback.lstrip("/")
    place = (*path, "fallback")
    if not name.lower().endswith(endings) or ".." in name.split("/"):
        compilation.report.error(
            place, f"{clip(rule.fallback)} is not a script below 'root': it ends in none of {', '.join(endings)}"
        )
    return f"/{name}"


def _compile_script_root(compilation: Compilation, path: Path, rule: FastcgiRule, directory: str) -> str:
    """Return the directory of the scripts as the FastCGI server sees it, without a slash at its end."""
    if rule.script_root is None:
        return os.path.abspath(directory).rstrip("/")
    if not rule.script_root.startswith("/"):
        compilation.report.error((*path, "script_root"), f"expected an absolute path, got {clip(rule.script_root)}")
    return rule.script_root.rstrip("/")


def _static_rule(rule: FastcgiRule, index: tuple[str, ...], endings: tuple[str, ...]) -> StaticRule:
    """Return the `static` rule of the files beside the scripts."""
    return StaticRule(
        path=rule.path,
        root=rule.root,
        index=[name for name in index if not name.lower().endswith(endings)],
        cache_control=rule.cache_control,
        mime=rule.mime,
        gzip=rule.gzip,
        precompressed=rule.precompressed,
        follow_symlinks=rule.follow_symlinks,
        dotfiles=rule.dotfiles,
    )


def _proxy_rule(rule: FastcgiRule) -> ProxyRule:
    """Return the `proxy` rule that treats its upstream in the same way."""
    times = rule.timeouts
    return ProxyRule(
        name=rule.name,
        proxy_pass=rule.to,
        trace=rule.trace,
        preserve_host=True,
        rewrite_location=False,
        rewrite_cookies=False,
        timeout=rule.timeout,
        timeouts=ProxyTimeouts(connect=times.connect, send=times.send, response=times.response, read=times.read),
        balance=rule.balance,
        retries=rule.retries,
        keepalive=rule.keepalive,
        keepalive_pool_size=rule.keepalive_pool_size,
        keepalive_idle_timeout=rule.keepalive_time,
        buffer_size=rule.buffer_size,
        request_buffering=rule.request_buffering,
        response_buffering=rule.response_buffering,
    )
