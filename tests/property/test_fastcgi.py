"""FastCGI: any split of a response is read as the whole, any bytes yield a response or a lost connection, and what is
written can be read back."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from npserver.errors import BadRequest, BadResponse
from npserver.http.cgi_response import find_head_end, parse_cgi_head
from npserver.http.request_target import canonical_path
from npserver.upstream.fastcgi import FastcgiClient
from npserver.upstream.fastcgi_records import MAX_CONTENT_BYTES, write_head, write_pair, write_stdin
from npserver.web.handlers.fastcgi.scripts import Found, Script, Scripts
from npserver.web.handlers.static.root import Root
from tests.conformance.test_fastcgi_responses import CASES
from tests.property.test_http_framing import cut
from tests.protocols.answering import same_answer
from tests.stage.fastcgi import PARAMS, STDERR, STDIN, STDOUT, end, pairs, record, records

WIRES = [case[1] for case in CASES]
TEXTS = [
    b"Content-Type: a/b\r\n", b"Status: 404\r\n", b"Content-Length: 3\r\n", b"\r\n", b"\n", b"abc", b"X: y\n", b"\r",
    b"Status: 304\r\n", b"Location: /\r\n", b"", b"\0", b"Content-Length: 0\r\n",
]  # fmt: skip
RECORDS = st.one_of(
    st.builds(record, st.sampled_from([STDOUT, STDERR]), st.sampled_from(TEXTS), padding=st.integers(0, 9)),
    st.builds(end, st.integers(0, 1), st.sampled_from([0, 0, 0, 1, 2])),
    st.sampled_from([record(STDIN), record(STDOUT, b"x", request=2), b"\x01", record(3, b"")]),
)


@settings(max_examples=300)
@example([record(STDOUT, b"Content-Type: text/plain\r\n\r\nok") + record(3, bytes(7))], [20, 45], True)
@given(
    st.lists(st.sampled_from(WIRES), min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=6), st.booleans()
)
def test_any_split_equals_one_feed(wires: list[bytes], places: list[int], is_head: bool) -> None:
    wire = b"".join(wires)
    pieces = [piece for piece in cut(wire, places) if piece]
    same_answer(pieces, [wire] if wire else [], is_head=is_head, client_type=FastcgiClient)


@settings(max_examples=500)
@given(st.lists(RECORDS, max_size=10), st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_any_records_are_an_answer_or_lost(wires: list[bytes], places: list[int], is_head: bool) -> None:
    wire = b"".join(wires)
    pieces = [piece for piece in cut(wire, places) if piece]
    same_answer(pieces, [wire] if wire else [], is_head=is_head, client_type=FastcgiClient)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(TEXTS), max_size=12), st.lists(st.integers(0, 100), max_size=4))
def test_a_head_is_found_once_and_parsed_or_refused(texts: list[bytes], places: list[int]) -> None:
    data = b"".join(texts)
    size, seen = 0, b""
    for piece in cut(data, places):
        size = size or find_head_end(seen + piece, len(seen))
        seen += piece
    assert size == find_head_end(data, 0)
    try:
        head = parse_cgi_head(data[:size]) if size else None
    except BadResponse:
        return
    if head is not None:
        assert 200 <= head.status <= 599
        assert b"\n" not in head.fields.replace(b"\r\n", b"")


@settings(max_examples=100)
@given(
    st.dictionaries(st.binary(max_size=300), st.one_of(st.binary(max_size=300), st.just(b"v" * 66_000)), max_size=40),
    st.booleans(),
)
def test_params_can_be_read_back(given_pairs: dict[bytes, bytes], keep: bool) -> None:
    found = [*records(write_head(b"".join([write_pair(*pair) for pair in given_pairs.items()]), keep=keep))][1:]
    assert {kind for kind, _, _ in found} == {PARAMS}
    assert pairs(b"".join([content for _, _, content in found])) == given_pairs
    assert found[-1][2] == b""


SEGMENTS = [
    "a.php", "x.jpg", "dir", "lib.php", "inner.php", ".hidden.php", "out.php", "none", "none.php", "A.PHP", "..", ".",
    "", "%2e%2e", "a.php%20", "a%2Fb.php", "x.jpg%2Fa.php", ".php", "a.php;x", "%C3%BC.php", "a.php%0A", "link",
    "%C4%B0.php",
]  # fmt: skip


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Scripts:
    root = tmp_path_factory.mktemp("site")
    outside = tmp_path_factory.mktemp("outside")
    for directory in (root, root / "dir", root / "lib.php", outside):
        directory.mkdir(exist_ok=True)
        for name in ("a.php", "x.jpg", "inner.php", ".hidden.php", "ü.php", "İ.php", "index.php"):
            (directory / name).touch()
    (root / "out.php").symlink_to(outside / "a.php")
    (root / "link").symlink_to(outside)
    return Scripts(
        Root(str(root)), "/app", (".php",), ("index.php",), "/index.php", shows_hidden=False, check_interval_s=0.0
    )


@settings(max_examples=500)
@example(path=["lib.php", "x.jpg", "a%2Fb.php"])  # a file in a directory that is named like a script
@given(path=st.lists(st.sampled_from(SEGMENTS), max_size=6))
def test_only_existing_scripts_are_run(scripts: Scripts, path: list[str]) -> None:
    try:
        canonical = canonical_path("/".join(["/app", *path]).encode())
    except BadRequest:
        return
    if not f"{canonical}/".startswith("/app/"):
        return  # another rule's
    found = scripts.find(canonical)
    if not isinstance(found, Script):
        last = unquote_to_bytes(canonical).rpartition(b"/")[2].lower()
        assert found is not Found.FILE or not last.endswith(b".php")  # the source of a script is never sent
        return
    file = Path(f"{scripts._root.directory}{found.file.decode()}")
    assert file.is_file()
    assert file.resolve().is_relative_to(Path(scripts._root.directory).resolve())
    assert file.name.endswith(".php")
    assert not any(part.startswith(".") for part in found.file.decode().split("/"))
    assert found.name == b"/app" + found.file
    asked = unquote_to_bytes(canonical)
    is_front = (found.file, found.info) == (b"/index.php", b"")
    assert asked in (found.name + found.info, found.name.removesuffix(b"index.php")) or is_front


@given(st.integers(0, 3 * MAX_CONTENT_BYTES))
def test_a_body_can_be_read_back(size: int) -> None:
    found = [*records(write_stdin(b"x" * size))]
    assert sum(len(content) for _, _, content in found) == size
    assert all(kind == STDIN and content for kind, _, content in found)
