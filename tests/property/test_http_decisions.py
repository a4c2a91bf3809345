"""Any field values of clients lead to a decision, never to an exception; the router agrees with a linear search."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from npserver.errors import BadRequest
from npserver.http.conditional import CONDITIONAL_FIELDS, evaluate, is_range_wanted
from npserver.http.negotiation import IDENTITY, choose_media_type, rank_codings
from npserver.http.ranges import parse_ranges
from npserver.http.request_target import canonical_path, parse_target, path_with_slashes
from npserver.web.handlers.static.root import decode_path
from npserver.web.middleware.basic_auth.check import parse_basic
from npserver.web.routing import Pattern, Router, parse_host, parse_pattern

#: What a field's value may hold once the head is parsed (RFC 9110 §5.5).
VALUES = st.binary(max_size=60).map(lambda data: data.translate(None, bytes([*range(9), *range(10, 32), 127])))
OFFERED = ("zstd", "br", "gzip")


@given(st.dictionaries(st.sampled_from(sorted(CONDITIONAL_FIELDS)), VALUES), VALUES)
def test_any_condition_is_decided(fields: dict[bytes, bytes], if_range: bytes) -> None:
    evaluate(fields, b'"tag"', 784111777)
    is_range_wanted(if_range, b'"tag"', 784111777, 1e9)


@given(st.one_of(VALUES, VALUES.map(lambda value: b"bytes=" + value)), st.integers(0, 10**15), st.integers(0, 20))
@example(b"bytes=--", 10, 5)
@example(b"bytes=\xb2-", 10, 5)
def test_any_range_lies_within_the_file(value: bytes, size: int, most: int) -> None:
    parts = parse_ranges(value, size, most)
    for part in parts or []:
        assert 0 <= part.offset < size
        assert 1 <= part.length <= size - part.offset
    assert len(parts or []) <= most


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=5))
def test_parts_of_a_range_are_what_a_slice_would_give(size: int, pairs: list[tuple[int, int]]) -> None:
    value = "bytes=" + ",".join(f"{first}-{last}" for first, last in pairs)
    whole = bytes(range(size))
    parts = parse_ranges(value.encode(), size, 16)
    if any(first > last for first, last in pairs):
        assert parts is None
        return
    wanted = [whole[first : last + 1] for first, last in pairs if first < size]
    if sum(map(len, wanted)) > size:
        assert parts is None
    else:
        assert parts is not None
        assert [whole[part.offset : part.offset + part.length] for part in parts] == wanted


@given(VALUES)
def test_any_accept_encoding_ranks_what_is_offered(value: bytes) -> None:
    ranking = rank_codings(value, OFFERED)
    assert set(ranking) <= {*OFFERED, IDENTITY}
    assert len(set(ranking)) == len(ranking)


@given(VALUES)
def test_any_accept_chooses_one_of_the_offered(value: bytes) -> None:
    assert choose_media_type(value, ("text/html", "application/json")) in ("text/html", "application/json")


@given(st.one_of(VALUES, VALUES.map(lambda value: b"Basic " + value)))
def test_any_authorization_is_read_or_not(value: bytes) -> None:
    login = parse_basic(value)
    assert login is None or ":" not in login[0]


@given(st.text(st.sampled_from("/.%2eEfF05cC\\ab"), max_size=20).map(lambda text: "/" + text))
def test_no_decoded_path_has_dot_segments_or_more_slashes(path: str) -> None:
    decoded = decode_path(path)
    if decoded is not None:
        assert not {".", ".."} & set(decoded.split("/"))
        assert decoded.count("/") == path.count("/")
        assert "\0" not in decoded


SEGMENTS = st.sampled_from(["a", "b", "ab", "a.b"])
PATHS = st.lists(SEGMENTS, max_size=4).map(lambda segments: "/" + "/".join(segments))
PATTERNS = st.one_of(PATHS, PATHS.map(lambda path: path.rstrip("/") + "/**"))
HOSTS = st.sampled_from(["", "x.y.z", "y.z", "*.y.z", "*.z"])


def search(entries: list[tuple[str, Pattern, int]], host: str, path: str) -> int | None:
    """The rule of `npserver.web.routing` in words: the host narrows first, then the longest path wins, then the
    first."""

    def host_rank(pattern: str) -> int:
        if pattern == host:
            return 1000
        if pattern.startswith("*."):
            return len(pattern) if host.endswith(pattern[1:]) else -1
        return 0 if not pattern else -1

    def path_rank(pattern: Pattern) -> int:
        if not pattern.is_prefix:
            return 1000 if pattern.path == path else -1
        return len(pattern.path) if path == pattern.path or path.startswith(pattern.path + "/") else -1

    ranked = [(host_rank(host_), path_rank(pattern), -value) for host_, pattern, value in entries]
    best = max((one for one in ranked if one[0] >= 0 and one[1] >= 0), default=None)
    return None if best is None else -best[2]


@given(
    st.lists(st.tuples(HOSTS, PATTERNS), max_size=12), st.sampled_from(["x.y.z", "y.z", "q.y.z", "z", "other"]), PATHS
)
def test_the_router_agrees_with_a_plain_search(rules: list[tuple[str, str]], host: str, path: str) -> None:
    entries = [
        (parse_host(host_), parse_pattern(pattern), number + 1000) for number, (host_, pattern) in enumerate(rules)
    ]
    assert Router(entries).find(host, path) == search(entries, host, path)


@pytest.mark.parametrize("count", [10, 10_000])
def test_finding_takes_as_many_steps_with_many_rules_as_with_few(count: int) -> None:
    routes = Router([("", parse_pattern(f"/service{number}/**"), number) for number in range(1, count)])
    assert routes.find("h", "/service7/a/b") == 7
    assert len(routes._any.prefixes) == count - 1
    assert routes._any.longest <= len("/service9999")


@given(st.text(alphabet="/.a%2eEfF;b", max_size=20))
def test_repeated_slashes_that_are_kept_lead_to_the_same_path(text: str) -> None:
    """RFC 3986 §6.2.2.3: what is forwarded is what was routed, whatever reads it later."""
    try:
        _, path, *_ = parse_target(b"/" + text.encode())
    except BadRequest:
        return
    kept = path_with_slashes("/" + text, path)
    assert canonical_path(kept.encode()) == path
    assert not kept.startswith("//")
