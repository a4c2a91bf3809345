"""Accept and Accept-Encoding (RFC 9110 §12.4, §12.5)."""

from __future__ import annotations

import pytest

from npserver.http.negotiation import choose_media_type, parse_weights, rank_codings

OFFERED = ("zstd", "br", "gzip")


@pytest.mark.parametrize(
    ("value", "ranking"),
    [
        (None, ["identity"]),
        (b"", ["identity"]),
        (b"gzip", ["gzip", "identity"]),
        (b"gzip, deflate, br, zstd", ["zstd", "br", "gzip", "identity"]),
        (b"gzip;q=1.0, br;q=0.5", ["gzip", "br", "identity"]),
        (b"br;q=0.2,gzip;q=0.8", ["gzip", "br", "identity"]),
        (b"GZIP", ["gzip", "identity"]),
        (b"x-gzip", ["gzip", "identity"]),
        (b"*", ["zstd", "br", "gzip", "identity"]),
        (b"*;q=0", []),
        (b"gzip, *;q=0", ["gzip"]),
        (b"identity;q=0", []),
        (b"gzip, identity;q=0", ["gzip"]),
        (b"identity;q=0, *", ["zstd", "br", "gzip"]),
        (b"identity, gzip;q=0.5", ["identity", "gzip"]),
        (b"gzip;q=0.5, identity;q=0.5", ["gzip", "identity"]),
        (b"gzip;q=0", ["identity"]),
        (b"gzip;q=0.000", ["identity"]),
        (b"gzip;q=0.001", ["gzip", "identity"]),
        (b"br;q=1.000 , gzip ; q=0.1", ["br", "gzip", "identity"]),
        (b"deflate, compress", ["identity"]),
        (b"gzip;q=1.5", ["identity"]),  # no weight: the element is left out
        (b"gzip;q=abc", ["identity"]),
        (b"gzip;q=0.1234", ["identity"]),
        (b"gzip;q=-1", ["identity"]),
        (b",,gzip,,", ["gzip", "identity"]),
    ],
)
def test_codings_are_ranked_by_weight(value: bytes | None, ranking: list[str]) -> None:
    assert list(rank_codings(value, OFFERED)) == ranking


def test_our_preference_decides_between_equal_weights() -> None:
    assert rank_codings(b"zstd, gzip", ("gzip", "zstd")) == ("gzip", "zstd", "identity")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "text/html"),
        (b"", "text/html"),
        (b"*/*", "text/html"),
        (b"application/json", "application/json"),
        (b"application/json, text/html;q=0.9", "application/json"),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        (b"application/*", "application/json"),
        (b"text/html;q=0, */*", "application/json"),
        (b"image/png", "text/html"),
        (b"APPLICATION/JSON", "application/json"),
    ],
)
def test_a_media_type_is_chosen_by_weight(accept: bytes | None, chosen: str) -> None:
    assert choose_media_type(accept, ("text/html", "application/json")) == chosen


def test_ten_thousand_elements_cost_little() -> None:
    assert len(parse_weights(b",".join(b"x%d" % number for number in range(10_000)))) == 64
