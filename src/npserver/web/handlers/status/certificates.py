"""The certificates on the status page: as a table, as JSON, and as metrics. `tls.states` tells what is known of each.

Names, issuers and errors may come from a CA: the page escapes them, JSON and the metrics quote them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from npserver.observe.metrics import Family, Sample
from npserver.web.handlers.status.table import Figure, Markup, badge, span, table, text, utc

if TYPE_CHECKING:
    from npserver.tls.states import CertificateState, PublishedStates


def _family(name: str, help: str) -> Family:
    return Family(f"npserver_{name}", "gauge", help)


_ALL = _family("certificates", "Certificates of listeners, those that are not shown one by one included.")
_ALL_FAILING = _family("certificates_failing", "Certificates of listeners whose last renewal failed.")
_ISSUED = _family("certificate_issued_timestamp_seconds", "Time from which a certificate is valid, 0: not issued yet.")
_EXPIRES = _family("certificate_expires_timestamp_seconds", "Time when a certificate expires, 0: not issued yet.")
_RENEWAL = _family("certificate_renewal_timestamp_seconds", "Time of the next attempt to renew a certificate.")
_FAILURES = _family("certificate_failures", "Attempts to renew a certificate that failed in a row.")

_BUDGET = 4_500  # bytes of the table
_LATE_S = 7 * 86400.0  # a certificate that expires before is marked, if a quarter of its time is not more

_SOURCES = {"acme": "CA", "internal": "local authority", "file": "file"}


def certificate_samples(states: PublishedStates) -> Iterator[Sample]:
    """Yield the metrics, those of one family after another."""
    by_source = sorted(states.counts.items())
    yield from (Sample(_ALL, (("source", source),), count.all) for source, count in by_source)
    yield from (Sample(_ALL_FAILING, (("source", source),), count.failing) for source, count in by_source)
    # Of two with the same labels, such as for listeners with other settings, the first is the more urgent
    labelled = {_labels(one): one for one in reversed(states.shown)}
    for labels, one in labelled.items():
        yield Sample(_ISSUED, (*labels, ("issuer", one.issuer)), int(one.issued))
    yield from (Sample(_EXPIRES, labels, int(one.expires)) for labels, one in labelled.items())
    yield from (Sample(_RENEWAL, labels, int(one.renew_at)) for labels, one in labelled.items() if one.renew_at)
    yield from (Sample(_FAILURES, labels, one.failures) for labels, one in labelled.items())


def certificates_as_json(states: PublishedStates) -> list[dict[str, object]]:
    """Return what JSON tells of each certificate; times are in ISO 8601, or null."""
    return [
        {
            "names": list(one.names),
            "more_names": one.more_names,
            "source": one.source,
            "issuer": one.issuer or None,
            "file": one.file or None,
            "issued": utc(one.issued) or None,
            "expires": utc(one.expires) or None,
            "renew_at": utc(one.renew_at) or None,
            "failures": one.failures,
            "error": one.error or None,
        }
        for one in states.shown
    ]


def certificate_table(states: PublishedStates, now: float) -> str:
    """Return the table in HTML, with how many certificates are left out; "" without certificates. `now`: since 1970."""
    if not states.counts:
        return ""
    count = sum(count.all for count in states.counts.values())
    failing = sum(count.failing for count in states.counts.values())
    left_out = count - len(states.shown)
    note = f"<p>{left_out:,} more, which are less urgent, are not shown.</p>" if left_out else ""
    title = f"{count:,} in all" + (f", failing: {failing:,}" if failing else "")
    heads = ("for", "left", "from", "issued (UTC)", "expires (UTC)", "next attempt (UTC)", "last error")
    rows = table(heads, [_row(one, now) for one in states.shown], _BUDGET)
    return f'<p class="soft">{title}</p>{rows}{note}'


def _row(one: CertificateState, now: float) -> tuple[str, ...]:
    names = ", ".join(one.names) + (f" and {one.more_names} more" if one.more_names else "")
    origin = f"{_SOURCES[one.source]}: {one.file or one.issuer}" if one.file or one.issuer else _SOURCES[one.source]
    failed = "changed, and not loaded: " if one.source == "file" else f"failed attempts: {one.failures}; the last: "
    error = Markup(f'<span class="error">{failed}{text(one.error)}</span>') if one.failures else ""
    return names, _left(one, now), origin, _day(one.issued), _day(one.expires), _day(one.renew_at), error


def _left(one: CertificateState, now: float) -> Markup:
    """Return the time until it expires; one that is close is marked."""
    if not one.expires:
        return badge("bad" if one.failures else "soft", "not issued yet")
    left_s = one.expires - now
    if left_s <= 0:
        return badge("bad", "expired")
    is_late = left_s < min(_LATE_S, (one.expires - one.issued) / 4)
    return badge("bad" if is_late else "good", span(left_s))


def _labels(one: CertificateState) -> tuple[tuple[str, str], ...]:
    names = " ".join(one.names) + (f" +{one.more_names}" if one.more_names else "")
    return ("names", names), ("source", one.source), *((("file", one.file),) if one.file else ())


def _day(seconds: float) -> Figure:
    return Figure(utc(seconds, "%Y-%m-%d %H:%M"))
