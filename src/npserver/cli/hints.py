"""What is probably meant by words and options that npserver does not have, such as `./public` or `--port 80`."""

from __future__ import annotations

import os

from npserver.errors import clip

_SERVES = "npserver serves when it is given a URI or -config FILE"
_STOPS = "npserver stop -config FILE shuts a server down"
_WORDS = {"start": _SERVES, "run": _SERVES, "serve": _SERVES, "restart": _STOPS, "quit": _STOPS}

_PORT = frozenset({"port", "p", "listen", "l", "bind", "b", "H", "address", "addr", "a"})
_ROOT = frozenset({"directory", "dir", "d", "docroot", "document-root", "public", "path", "folder"})
_TARGET = frozenset({"proxy", "upstream", "target", "backend", "forward", "from"})
_TLS = frozenset({"tls", "ssl", "https", "secure"})
_ACME = frozenset({"auto", "autocert", "domain", "domains", "email", "letsencrypt", "server-name", "servername"})
_PHP = frozenset({"fastcgi", "fcgi", "fpm", "php-fpm"})
_CONFIG = frozenset({"conf", "cfg", "file", "f"})


def word_hint(word: str) -> str | None:
    """Return what is meant by a word that is neither a URI nor a command; None if there is no idea."""
    if word in _WORDS:
        return f"there is no command {clip(word)}: {_WORDS[word]}"
    if "://" in word:
        return None
    if os.path.isdir(word):
        return f"{clip(word)} is a directory: to serve its files, run npserver http://:8080 -root {word}"
    if os.path.isfile(word):
        return f"{clip(word)} is a file: if it is the config, run npserver -config {word}"
    return None


def option_hint(spelling: str, value: str) -> str | None:
    """Return what is meant by an option of other programs, `value` being what follows it; None if there is no idea."""
    name = spelling.lstrip("-")
    if name in _PORT:
        port = value if value.isascii() and value.isdigit() else "8080"
        return f"there is no {clip(spelling)}: a listener is a URI, here http://:{port}"
    if name in _ROOT:
        return f"there is no {clip(spelling)}: the directory to serve is -root {_shown(value, 'DIR')}"
    if name in _TARGET:
        return f"there is no {clip(spelling)}: the target of a listener is -to {_shown(value, 'URI')} after its URI"
    if name in _TLS:
        return f"there is no {clip(spelling)}: TLS is https://:443 or ssl://:PORT with -cert FILE -key FILE"
    if name in _ACME:
        return f"there is no {clip(spelling)}: a certificate of Let's Encrypt is -acme EMAIL -host NAME"
    if name in _PHP:
        return f"there is no {clip(spelling)}: PHP scripts are run by -php {_shown(value, 'SOCKET')} beside -root DIR"
    if name in _CONFIG:
        return f"there is no {clip(spelling)}: the config file is -config {_shown(value, 'FILE')}"
    return None


def _shown(value: str, otherwise: str) -> str:
    is_plain = value.isascii() and value.isprintable() and 0 < len(value) < 60 and not value.startswith("-")
    return value if is_plain else otherwise
