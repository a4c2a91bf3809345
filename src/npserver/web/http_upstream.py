"""Finds the upstream that a key of an HTTP rule names: a target that speaks HTTP, or `upstream://name`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.address import HTTP, parse_target, schemes_reaching
from npserver.errors import clip
from npserver.upstream.compile import find_upstream, single_target, with_tls

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.upstream.config import UpstreamTls
    from npserver.upstream.group import Upstream

_HTTP_TARGETS = schemes_reaching(HTTP)


def http_upstream(compilation: Compilation, place: Path, uri: str, tls: UpstreamTls | None) -> Upstream | None:
    """Return the upstream of a URI that stands at `place`; None if it has errors, which stand in the report.

    `tls`: the value of the key `tls` beside it.
    """
    report = compilation.report
    try:
        address = parse_target(uri, likely_scheme="http")
    except ValueError as error:
        report.error(place, str(error))
        return None
    if address.scheme != "upstream":
        if address.scheme not in _HTTP_TARGETS:
            report.error(
                place, f"expected an http, https, h2c or unix target, or upstream://name, got {clip(str(address))}"
            )
            return None
        return single_target(compilation, place, address, tls=tls)
    upstream = find_upstream(compilation, place, address)
    if upstream is None:
        return None
    others = sorted({target.address.scheme for target in upstream.targets} - _HTTP_TARGETS)
    if others:
        report.error(place, f"the targets of upstream {upstream.name!r} speak {', '.join(others)}, not HTTP")
        return None
    if tls is not None:
        return with_tls(compilation, (*place[:-1], "tls"), upstream, tls)
    return upstream
