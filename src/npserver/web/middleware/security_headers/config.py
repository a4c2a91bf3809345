"""The keys of `security_headers`."""

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import D, Section
from npserver.config.units import Seconds


class SecurityHeaders(Section, frozen=True, kw_only=True):
    """Response fields by which browsers protect a site's users. A field that an answer has already is left as it is."""

    hsts: Annotated[
        Seconds,
        D("how long browsers use https alone (`Strict-Transport-Security`); sent over TLS only", zero="not sent"),
    ] = Seconds(365 * 86400)
    hsts_subdomains: Annotated[bool, D("for all names below the host, too (`includeSubDomains`)")] = False
    nosniff: Annotated[bool, D("take the media type as it is sent (`X-Content-Type-Options: nosniff`)")] = True
    frame: Annotated[
        Literal["deny", "sameorigin"] | None,
        D("pages that may frame this one: none, or those of its own origin (`X-Frame-Options`); null: not sent"),
    ] = "sameorigin"
    referrer: Annotated[
        str | None, D("value of `Referrer-Policy`: what links tell other sites of this one; null: not sent")
    ] = "strict-origin-when-cross-origin"
    permissions: Annotated[
        str | None, D("value of `Permissions-Policy`, such as `camera=(), microphone=()`; default: not sent")
    ] = None
    csp: Annotated[
        str | None, D("value of `Content-Security-Policy`, such as `default-src 'self'`; default: not sent")
    ] = None
    opener: Annotated[
        Literal["same-origin", "same-origin-allow-popups"] | None,
        D("value of `Cross-Origin-Opener-Policy`: other origins get no hold of its windows; default: not sent"),
    ] = None


#: What `"strict"` stands for: nothing of it keeps a page's own scripts and styles from working.
STRICT = SecurityHeaders(
    hsts=Seconds(2 * 365 * 86400),
    hsts_subdomains=True,
    frame="deny",
    referrer="same-origin",
    permissions="camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    csp="base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    opener="same-origin",
)
