"""The front of a listener whose rules have conditions: chooses among the routes of a host and path by the head.

The chosen route is cached with the head, so that a head that comes again is answered as fast as without conditions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from npserver.web.server.front import HttpFront

if TYPE_CHECKING:
    from npserver.http.request import Fields, Request
    from npserver.web.exchange import Route

K = TypeVar("K")  # a head as its version of HTTP has it


class MatchingFront(HttpFront):
    """Serves HTTP on one listener."""

    def find(self, head: bytes) -> tuple[Request, Route]:
        """Parse a head and find its route. Raises: BadRequest."""
        return _choose(super().find(head), head, self.heads)

    def find_http2(self, fields: Fields, has_body: bool) -> tuple[Request, Route]:
        """Do the same for the field list of an HTTP/2 request. Raises: BadRequest."""
        return _choose(super().find_http2(fields, has_body), fields, self._field_lists[has_body])

    def find_http3(self, fields: Fields, has_body: bool) -> tuple[Request, Route]:
        """Do the same for the field list of an HTTP/3 request. Raises: BadRequest."""
        return _choose(super().find_http3(fields, has_body), fields, self._http3_lists[has_body])


def _choose(found: tuple[Request, Route], head: K, cache: dict[K, tuple[Request, Route]]) -> tuple[Request, Route]:
    """Return a request with the route that its head leads to, which takes the place of what was found in the cache."""
    request, route = found
    if route.by_head is None:
        return found
    chosen = request, route.by_head(request)
    if cache.get(head) is found:
        cache[head] = chosen
    return chosen
