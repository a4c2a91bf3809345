"""Content negotiation (RFC 9110 §12.5): Accept and Accept-Encoding with their weights.

Called by `web.handlers.static.handler`, `web.error_pages` and `web.handlers.static.listing`. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

IDENTITY = "identity"
_MAX_ELEMENTS = 64  # of one field; browsers send fewer than ten
_ALIASES = {"x-gzip": "gzip", "x-compress": "compress"}  # RFC 9110 §8.4.1


def parse_weights(value: bytes) -> dict[str, float]:
    """Give each element of a field in lower case with its weight, 0 to 1. Elements with a wrong weight are left out."""
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
    """Give the content codings a client takes, best first; `identity` among them unless it is refused.

    Args:
        accept_encoding: the field's value; None if it was not sent, which leaves the choice to us: none (§12.5.3).
        offered: what we can do, preferred first; it decides between equal weights.
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
        ranked.append((0.0001, IDENTITY))  # acceptable where nothing refuses it, after all that were named
    ranked = [(weight, coding) for weight, coding in ranked if weight > 0]
    ranked.sort(key=lambda pair: -pair[0])
    return tuple([coding for _, coding in ranked])


def choose_media_type(accept: bytes | None, offered: Sequence[str]) -> str:
    """Give the media type of `offered` that the client likes best; the first of them if it likes none or all.

    The most specific range that covers a type gives its weight (RFC 9110 §12.5.1).
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
    """A weight of at most three decimals, -1 if it is none (RFC 9110 §12.4.2)."""
    whole, _, decimals = text.partition(".")
    if whole not in ("0", "1") or len(decimals) > 3 or (decimals and not (decimals.isascii() and decimals.isdigit())):
        return -1.0
    weight = float(f"{whole}.{decimals or 0}")
    return weight if weight <= 1 else -1.0
