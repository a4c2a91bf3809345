"""`npserver purge`: remove responses from the caches of proxy rules, of a running server or not."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

from npserver.address import HTTP, schemes_reaching
from npserver.cli.check import DEFAULT_CONFIG
from npserver.errors import BadRequest, clip, reason_of

HELP = """\
usage: npserver purge [-config FILE] [-prefix] URL

Remove the stored responses for a URL, with all their variants, from the caches of the proxy rules in a config file.
A running server notices it at once. Run it as the user of the server.

  -config FILE    the config file of the server (default: config.json)
  -prefix         remove all responses whose URLs begin with URL: https://example.com/img/
"""
DONE, FAILED, USAGE = 0, 1, 2


def main(words: list[str]) -> int:
    """Purge. Return the exit status: 0 done, 1 failed, 2 invalid usage or config."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(HELP, end="")
        return DONE
    config, is_prefix, urls = DEFAULT_CONFIG, False, []
    rest = iter(words)
    for word in rest:
        if word in ("-config", "--config"):
            config = next(rest, "")
        elif word in ("-prefix", "--prefix"):
            is_prefix = True
        elif word.startswith("-"):
            return _misused(f"unknown option {clip(word)}")
        else:
            urls.append(word)
    if len(urls) != 1 or not config:
        return _misused("expected one URL")
    try:
        url = canonical_url(urls[0])
    except ValueError as error:
        return _misused(str(error))
    return purge_all(config, url, is_prefix=is_prefix)


def purge_all(config: str, url: str, *, is_prefix: bool) -> int:
    """Purge the caches of a config. Return the exit status. Raises: ConfigError."""
    from npserver.config.load import load
    from npserver.web.handlers.proxy.cache.directory import NO_SEED, directory_of
    from npserver.web.handlers.proxy.cache.tidy import purge
    from npserver.web.handlers.proxy.config import ProxyRule

    document = load(config)
    caches = [rule.cache for rule in document.config.dispatch if isinstance(rule, ProxyRule) and rule.cache]
    if not caches:
        print(f"npserver purge: no rule of {config} has a cache", file=sys.stderr)
        return FAILED
    count, status = 0, DONE
    for directory in sorted({directory_of(document, one, NO_SEED) for one in caches}):
        try:
            count += purge(directory, url, is_prefix=is_prefix)
        except OSError as error:
            print(f"npserver purge: {directory}: {reason_of(error)}: run it as the server's user", file=sys.stderr)
            status = FAILED
    print(f"{count} {'response' if count == 1 else 'responses'} removed")
    return status


def canonical_url(text: str) -> str:
    """Return a URL as the cache knows it. Raises: ValueError."""
    from npserver.http.request_target import canonical_path

    parts = urlsplit(text)
    if parts.scheme not in schemes_reaching(HTTP) or not parts.netloc:
        raise ValueError(f"expected a URL such as https://example.com/path, got {clip(text)}")
    try:
        path = canonical_path((parts.path or "/").encode())
    except BadRequest as error:
        raise ValueError(f"{error}: {clip(text)}") from error
    query = f"?{parts.query}" if "?" in text else ""
    return f"{parts.scheme}://{parts.netloc.lower()}{path}{query}"


def _misused(message: str) -> int:
    print(f"npserver purge: {message}\n\n{HELP}", end="", file=sys.stderr)
    return USAGE
