"""Content negotiation (RFC 9110 §12.5): the Accept and Accept-Encoding fields with their weights.

Called by `web.handlers.static`, which negotiates codings, and by `web.error_pages` and the directory listing, which
negotiate media types. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

IDENTITY = "identity"
_MAX_ELEMENTS = 64  # read of one field; browsers send fewer than ten
_ALIASES = {"x-gzip": "gzip", "x-compress": "compress"}  # RFC 9110 §8.4.1


def parse_weights(value: bytes) -> dict[str, float]:
    """Return the weight, 0 to 1, of each element of a field in lower case. Elements with a bad weight are skipped."""
    weights: dict[str, float] = {}
    for element in value.decode("latin-1").lower().split(",")[:_MAX_ELEMENTS]:
        name, *parameters = [part.strip(" \t") for part in element.split(";")]
        if not name:
            continue
        weight = 1.0
        for parameter in parameters:
            key, _, number = parameter.partition("=")
            if key.rstrip(" \t") == "q":
                weight = _read_weight(number.lstrip(" \t"))
        if weight >= 0:
            weights[name] = weight
    return weights


def rank_codings(accept_encoding: bytes | None, offered: Sequence[str]) -> tuple[str, ...]:
    """Return the content codings that the client accepts, best first, with `identity` unless the client refuses it.

    Args:
        accept_encoding: the field's value; None if it was not sent: then the content is sent unencoded (§12.5.3).
        offered: the codings available, in the order of preference among equal weights.
    """
    if accept_encoding is None:
        return (IDENTITY,)
    weights = parse_weights(accept_encoding)
    for alias, name in _ALIASES.items():
        if alias in weights:
            weights.setdefault(name, weights[alias])
    others = weights.get("*", 0.0)
    ranked = [(weights.get(coding, others), coding) for coding in offered]
    if IDENTITY in weights:
        ranked.append((weights[IDENTITY], IDENTITY))
    elif "*" not in weights or others > 0:
        ranked.append((0.0001, IDENTITY))  # acceptable unless refused, but after the codings that are named
    ranked = [(weight, coding) for weight, coding in ranked if weight > 0]
    ranked.sort(key=lambda pair: -pair[0])
    return tuple([coding for _, coding in ranked])


def choose_media_type(accept: bytes | None, offered: Sequence[str]) -> str:
    """Return the media type of `offered` with the highest weight; the first one if all are equal or none is accepted.

    The weight of a type is that of the most specific media range that matches it (RFC 9110 §12.5.1).

    `accept`: the field's value; None if it was not sent.
    """
    if not accept:
        return offered[0]
    weights = parse_weights(accept)
    best, best_weight = offered[0], 0.0
    for media_type in offered:
        main = media_type.partition("/")[0]
        weight = weights.get(media_type, weights.get(f"{main}/*", weights.get("*/*", 0.0)))
        if weight > best_weight:
            best, best_weight = media_type, weight
    return best


def _read_weight(text: str) -> float:
    """Return a weight, 0 to 1 with at most three decimals (RFC 9110 §12.4.2); -1 if it is malformed."""
    whole, _, decimals = text.partition(".")
    if whole not in ("0", "1") or len(decimals) > 3 or (decimals and not (decimals.isascii() and decimals.isdigit())):
        return -1.0
    weight = float(f"{whole}.{decimals or 0}")
    return weight if weight <= 1 else -1.0
