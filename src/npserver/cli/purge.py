"""`npserver purge`: remove responses from the caches of proxy rules, of a running server or not."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

from npserver.address import HTTP, schemes_reaching
from npserver.cli.arguments import UsageError
from npserver.cli.words import Words, run_command
from npserver.errors import BadRequest, clip, reason_of

HELP = """\
usage: npserver purge [-config FILE] [-prefix] URL

Remove the stored responses for a URL, with all their variants, from the caches of the proxy rules in a config file.
A running server notices it at once. Run it as the user of the server.

  -config FILE    the config file of the server (default: config.json)
  -prefix         remove all responses whose URLs begin with URL: https://example.com/img/
"""
DONE, FAILED = 0, 1


def main(words: list[str]) -> int:
    """Purge. Return the exit status: 0 done, 1 failed, 2 invalid usage or config."""
    return run_command("purge", HELP, words, _run, flags=("prefix",))


def _run(words: Words) -> int:
    if len(words.rest) != 1:
        raise UsageError("expected one URL")
    try:
        url = canonical_url(words.rest[0])
    except ValueError as error:
        raise UsageError(str(error)) from error
    return purge_all(words.config, url, is_prefix="prefix" in words.options)


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
