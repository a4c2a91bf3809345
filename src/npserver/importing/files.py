"""Files in a block of nginx, as `static` and `fastcgi` rules. Called by `importing.handlers`."""

from __future__ import annotations

import os
import re
from typing import Any

from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.expressions import files_of
from npserver.importing.place import Place
from npserver.importing.proxied import fastcgi_keys
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, text
from npserver.importing.upstreams import Upstreams


class OutsidePrefix(NoCounterpart):
    """A file to fall back to lies outside of the prefix that a rule removes from paths."""


def root_of(place: Place) -> str:
    """Return the directory of a place, from which its prefix has been removed. Raises: NoCounterpart."""
    alias = place.scope.here("alias")
    if alias:
        alias[0].used = True
        directory = place.scope.fill_in(alias[0].args[0])
        location = place.location.rstrip("/")
        if place.regex:
            files = files_of(place.regex, directory)
            if files is None or not place.prefix.startswith(files[0]):
                raise NoCounterpart(f"{alias[0].place}: {alias[0].text[:80]}: not a directory and what follows")
            location, directory = files
        if "$" in directory:
            raise NoCounterpart(f"{alias[0].place}: alias with variables")
        if not place.is_exact and place.prefix != location:
            if not place.prefix.startswith(location):
                raise OutsidePrefix(f"{alias[0].place}: alias")
            return os.path.join(directory, place.prefix[len(location) :].lstrip("/"))
        return directory
    root = place.scope.fill_in(place.scope.word("root", "html"))
    if "$" in root:
        raise NoCounterpart(f"variables in root {root[:60]}")
    return os.path.join(root, place.prefix.lstrip("/")) if place.prefix else root


def files_keys(place: Place, draft: Draft, upstreams: Upstreams, comments: list[str]) -> dict[str, Any]:
    """Return handler and keys for a place where files are sent, or scripts are run. Raises: NoCounterpart."""
    scope = place.scope
    index = [name for one in scope.find("index") for name in one.args if not name.startswith("/")] or ["index.html"]
    if (file := _one_file(place)) is not None:
        return {"handler": "static", "root": os.path.dirname(file), "try_files": [f"/{os.path.basename(file)}", "=404"]}
    root = root_of(place)
    tried = scope.own("try_files")
    paths: list[str] = tried[0].args[:-1] if tried else []
    last = tried[0].args[-1] if tried else ""
    fallback = _fallback(tried[0], place, root, comments) if tried and not last.startswith("=") else None
    if not tried and (script := _script_for_missing(scope, comments)) is not None:
        paths, fallback = ["$uri", "$uri/"], script
    php = None if place.is_final else place.site.php
    if php is not None and ((fallback or "").endswith(".php") or (not fallback and "index.php" in index)):
        keys = fastcgi_keys(php.find("fastcgi_pass")[0], php, draft, upstreams, comments)
        return {**keys, "root": root, "index": index, "fallback": fallback}
    if (fallback or "").endswith(".php"):
        raise NoCounterpart(f"{(tried or scope.find('root'))[0].text[:100]}: nothing runs the script {fallback}")
    keys = {"handler": "static", "root": root, "index": index[0] if len(index) == 1 else index}
    if paths == ["$uri", "$uri/"] and fallback is not None:
        keys["fallback"] = fallback
    elif tried and (paths, last) != (["$uri", "$uri/"], "=404"):
        end = last if fallback is None else f"/{fallback}"
        keys["try_files"] = [*(_candidate(path, place, tried[0]) for path in paths), end]
    if scope.word("autoindex") == "on":
        keys["browse"] = True
    return keys


def _fallback(one: Directive, place: Place, root: str, comments: list[str]) -> str:
    """Return the last path of `try_files`, which is looked up as a location, below the root. Raises: NoCounterpart."""
    last = place.scope.fill_in(one.args[-1])
    bare = re.sub(r"\?.*|\$(is_args|args|request_uri|uri).*", "", last) if last.startswith("/") else last
    if "$" in bare or not bare.startswith("/"):
        raise NoCounterpart(f"{one.place}: {one.text[:100]}: no file to fall back to")
    if re.search(r"\?(?!\$(args|query_string)$)", last):
        comments.append(f"{one.place}: {one.text[:80]}: the query stays as it is")
    there = place.site.find(bare)
    if there is not None and there.has("proxy_pass"):
        raise NoCounterpart(f"{one.place}: {one.text[:100]}: no file to fall back to")
    alias = [inner.args[0] for inner in there.scope.here("alias")] if there else []
    around = there.scope if there else place.scope
    if there and alias:
        file = f"{around.fill_in(alias[0]).rstrip('/')}/{bare[len(there.written) :].lstrip('/')}"
    else:
        file = around.fill_in(around.word("root", "html")).rstrip("/") + bare
    if not file.startswith(f"{root.rstrip('/')}/"):
        raise OutsidePrefix(f"{one.place}: {one.text[:100]}: no fallback outside the files of the rule")
    return file[len(root.rstrip("/")) + 1 :]


def _candidate(path: str, place: Place, one: Directive) -> str:
    """Return a path of `try_files` below the root of a rule. Raises: NoCounterpart."""
    try:
        ours = text(re.sub(r"^/+(?=\$uri|\$\{uri\})", "", path), place.scope.constants())
    except NoCounterpart as error:
        raise NoCounterpart(f"{one.place}: {one.text[:100]}: {error}") from error
    if place.prefix and not ours.startswith(("$path", "${path}")):
        if "$" in ours or not ours.startswith(f"{place.prefix}/"):
            raise OutsidePrefix(f"{one.place}: {one.text[:100]}: no file outside those of the rule")
        return ours[len(place.prefix) :]
    return ours


def _script_for_missing(scope: Scope, comments: list[str]) -> str | None:
    """Return the script of `if (!-e $request_filename) { rewrite ... /index.php?... last; }`, the older `try_files`."""
    for one in scope.here("if"):
        inside = [inner for inner in one.block or [] if inner.name == "rewrite"]
        if one.args not in (["!-e", "$request_filename"], ["!-f", "$request_filename"]):
            continue
        if len(inside) == 1 and (match := re.match(r"/([\w/-]+\.php)(?:[?/]|$)", inside[0].args[1])):
            one.used = True
            if "$" in inside[0].args[1]:
                comments.append(f"{inside[0].place}: {inside[0].text[:80]}: the query stays as it is")
            return match[1]
    return None


def _one_file(place: Place) -> str | None:
    """Return the file that an alias of an exact path or of a regular expression names."""
    alias = place.scope.here("alias")
    if not alias or not (place.is_exact or place.regex):
        return None
    file = place.scope.fill_in(alias[0].args[0])
    if "$" in file or (place.is_exact and file.endswith("/")):
        return None
    alias[0].used = True
    return file
