"""URIs in the fields of WebDAV requests, changed from what the client knows to what the upstream knows. Pure.

COPY and MOVE name their destination (RFC 4918 §10.3), and If may name resources (§10.4). An upstream refuses a URI
of another server, which the client's URIs are when the upstream is sent its own name and paths. `relocation` changes
the URIs of responses in the other direction.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from npserver.errors import BadRequest, clip
from npserver.http.request_target import canonical_path
from npserver.regex import regex

#: Fields whose values are, or may hold, URIs of the server.
REFERRING = frozenset((b"destination", b"if"))

_ABSOLUTE = regex(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
#: A list of conditions, which holds tokens and entity tags; or the URI of the resource that lists apply to.
_LIST_OR_RESOURCE = regex(rb'\((?:[^()"]|"[^"]*")*\)|<([^<>]*)>')
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


@dataclass(frozen=True, slots=True)
class References:
    """Changes the URIs of one request.

    Args:
        client_scheme: the scheme by which the client speaks to us.
        client_authority: host and port that the client requested.
        origin: the scheme and authority as the upstream knows them: `http://10.0.0.1:8080`.
        path: returns the upstream's path for a canonical one of the client; "" for one that the rule does not reach.
        key: the config key, for the log.
        merge_slashes: whether repeated slashes are merged in paths.
    """

    client_scheme: str
    client_authority: bytes
    origin: bytes
    path: Callable[[str], str]
    key: str
    merge_slashes: bool = True

    def rewrite(self, fields: bytes) -> bytes:
        """Return a block of field lines with their URIs changed. Raises: BadRequest for a path out of grammar."""
        lines = fields.split(b"\r\n")
        for index, line in enumerate(lines):
            name, _, value = line.partition(b":")
            key = name.lower()
            if key == b"destination":
                lines[index] = name + b": " + self.reference(value.strip(b" \t"))
            elif key == b"if":
                lines[index] = name + b":" + _LIST_OR_RESOURCE.sub(self._resource, value)
        return b"\r\n".join(lines)

    def reference(self, uri: bytes) -> bytes:
        """Return a URI, or an absolute path with or without a query, for the upstream.

        One of another server stays as it is. So does one that the rule does not reach, made absolute: the upstream
        answers it as one of another server (RFC 4918 §9.8.5).
        """
        start, rest = b"", uri
        if uri[:1] != b"/" or uri[:2] == b"//":
            match = _ABSOLUTE.fullmatch(uri)
            if match is None or not self._is_ours(match[1].lower(), match[2]):
                return uri
            start, rest = self.origin, match[3] if match[3][:1] == b"/" else b"/" + match[3]
        path, mark, query = rest.partition(b"?")
        if b"#" in rest:
            raise BadRequest(f"fragment in {clip(uri)}", key=self.key)
        try:
            known = canonical_path(path, merge_slashes=self.merge_slashes)
        except BadRequest as error:
            raise BadRequest(f"{error} of {clip(uri)}", key=self.key) from None
        mapped = self.path(known)
        if not mapped:
            return b"%b://%b%b" % (self.client_scheme.encode(), self.client_authority, rest)
        return start + mapped.encode("ascii") + mark + query

    def _resource(self, match: re.Match[bytes]) -> bytes:
        return match[0] if match[1] is None else b"<" + self.reference(match[1]) + b">"

    def _is_ours(self, scheme: bytes, authority: bytes) -> bool:
        port = _DEFAULT_PORTS[scheme]
        return authority.lower().removesuffix(port) == self.client_authority.lower().removesuffix(port)
