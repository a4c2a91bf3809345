"""RFC 9110 §8.8 and §13: validators and conditional requests for files, over the real server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest

from npserver.http.conditional import Outcome, evaluate, is_range_wanted
from tests.stage.site import Reply, Site, site

MODIFIED = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BODY = b"0123456789" * 100


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Site]:
    file = tmp_path / "f.txt"
    file.write_bytes(BODY)
    os.utime(file, (MODIFIED, MODIFIED))
    big = tmp_path / "big.bin"
    big.write_bytes(BODY * 200)
    os.utime(big, (MODIFIED, MODIFIED))
    async with site({"handler": "static", "root": str(tmp_path), "cache_control": "max-age=60"}) as running:
        yield running


@pytest.fixture
async def first(served: Site) -> Reply:
    return await served.ask("/f.txt")


class TestValidators:
    """RFC 9110 §8.8."""

    def test_last_modified_is_the_file_s(self, first: Reply) -> None:
        assert first["Last-Modified"] == DATE

    def test_the_entity_tag_is_strong(self, first: Reply) -> None:
        assert first["ETag"].startswith('"')
        assert first["ETag"].endswith('"')

    async def test_each_coding_has_its_own_tag(self, served: Site, first: Reply) -> None:
        tags = {(await served.ask("/f.txt", Accept_Encoding=coding))["ETag"] for coding in ("gzip", "br", "zstd")}
        assert len(tags | {first["ETag"]}) == 4

    async def test_the_tag_changes_with_the_content(self, served: Site, first: Reply, tmp_path: Path) -> None:
        (tmp_path / "g.txt").write_bytes(b"x" * len(BODY))
        assert (await served.ask("/g.txt"))["ETag"] != first["ETag"]

    async def test_no_file_is_dated_later_than_the_answer(self, served: Site, tmp_path: Path) -> None:
        """RFC 9110 §8.8.2.1."""
        file = tmp_path / "f.txt"
        os.utime(file, (4102444800, 4102444800))
        reply = await served.ask("/f.txt")
        modified, date = (parsedate_to_datetime(reply[name]) for name in ("Last-Modified", "Date"))
        assert timedelta() <= date - modified <= timedelta(seconds=2)


IMF, RFC850, ASCTIME = DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"

#: Fields (with TAG for the entity tag) and the status they lead to.
PRECONDITIONS: list[tuple[str, dict[str, str], int]] = [
    # §13.1.1 If-Match: strong comparison
    ("13.1.1", {"If-Match": "TAG"}, 200),
    ("13.1.1", {"If-Match": "*"}, 200),
    ("13.1.1", {"If-Match": '"other", TAG'}, 200),
    ("13.1.1", {"If-Match": '"other"'}, 412),
    ("13.1.1", {"If-Match": "W/TAG"}, 412),
    ("13.1.1", {"If-Match": ""}, 412),
    # §13.1.2 If-None-Match: weak comparison
    ("13.1.2", {"If-None-Match": "TAG"}, 304),
    ("13.1.2", {"If-None-Match": "W/TAG"}, 304),
    ("13.1.2", {"If-None-Match": "*"}, 304),
    ("13.1.2", {"If-None-Match": '"a", W/"b,c", TAG'}, 304),
    ("13.1.2", {"If-None-Match": '"a","b"'}, 200),
    ("13.1.2", {"If-None-Match": "not-a-tag"}, 200),
    ("13.1.2", {"If-None-Match": ""}, 200),
    # §13.1.3 If-Modified-Since
    ("13.1.3", {"If-Modified-Since": IMF}, 304),
    ("13.1.3", {"If-Modified-Since": RFC850}, 304),
    ("13.1.3", {"If-Modified-Since": ASCTIME}, 304),
    ("13.1.3", {"If-Modified-Since": LATER}, 304),
    ("13.1.3", {"If-Modified-Since": EARLIER}, 200),
    ("13.1.3", {"If-Modified-Since": "yesterday"}, 200),
    ("13.1.3", {"If-Modified-Since": f"{IMF}, {IMF}"}, 200),
    ("13.1.3", {"If-Modified-Since": IMF, "If-None-Match": '"a"'}, 200),  # ignored beside If-None-Match
    # §13.1.4 If-Unmodified-Since
    ("13.1.4", {"If-Unmodified-Since": IMF}, 200),
    ("13.1.4", {"If-Unmodified-Since": LATER}, 200),
    ("13.1.4", {"If-Unmodified-Since": EARLIER}, 412),
    ("13.1.4", {"If-Unmodified-Since": "yesterday"}, 200),
    ("13.1.4", {"If-Unmodified-Since": EARLIER, "If-Match": "TAG"}, 200),  # ignored beside If-Match
    # §13.2.2 precedence
    ("13.2.2", {"If-Match": '"a"', "If-None-Match": "TAG"}, 412),
    ("13.2.2", {"If-Match": "TAG", "If-None-Match": "TAG"}, 304),
    ("13.2.2", {"If-Match": "TAG", "If-Modified-Since": IMF}, 304),
    ("13.2.2", {"If-Unmodified-Since": EARLIER, "If-None-Match": "TAG"}, 412),
    ("13.2.2", {"If-None-Match": "TAG", "If-Modified-Since": EARLIER}, 304),
    ("13.2.2", {"If-None-Match": "TAG", "Range": "bytes=0-1"}, 304),
    ("13.2.2", {"If-Match": '"a"', "Range": "bytes=0-1"}, 412),
    ("13.2.2", {"If-Match": "TAG", "Range": "bytes=0-1"}, 206),
    # §13.1.5 If-Range
    ("13.1.5", {"Range": "bytes=0-1", "If-Range": "TAG"}, 206),
    ("13.1.5", {"Range": "bytes=0-1", "If-Range": DATE}, 206),
    ("13.1.5", {"Range": "bytes=0-1", "If-Range": "W/TAG"}, 200),
    ("13.1.5", {"Range": "bytes=0-1", "If-Range": '"other"'}, 200),
    ("13.1.5", {"Range": "bytes=0-1", "If-Range": EARLIER}, 200),
    ("13.1.5", {"Range": "bytes=0-1", "If-Range": LATER}, 200),
    ("13.1.5", {"Range": "bytes=5000-", "If-Range": '"other"'}, 200),
    ("13.1.5", {"If-Range": '"other"'}, 200),
]


async def settled_tag(served: Site, path: str) -> str:
    """Return the entity tag of a file that has not just changed: it is a digest, not of the time of the change."""
    while (tag := (await served.ask(path))["ETag"]).endswith('-c"'):
        pass
    return tag


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("section", "fields", "status"), PRECONDITIONS, ids=[f"{row[0]} {row[1]} {row[2]}" for row in PRECONDITIONS]
)
async def test_preconditions_decide_the_status(
    served: Site, section: str, fields: dict[str, str], status: int, method: str
) -> None:
    for path in ("/f.txt", "/big.bin"):
        tag = await settled_tag(served, path)
        sent = {name: value.replace("TAG", tag) for name, value in fields.items()}
        reply = await served.ask(path, method, **sent)
        if method == "HEAD" and status == 206:
            status = 200  # Range is defined for GET only (§14.2)
        assert reply.status == status, section


class TestNotModified:
    """RFC 9110 §15.4.5."""

    async def test_it_carries_what_caches_need_and_no_more(self, served: Site, first: Reply) -> None:
        reply = await served.ask("/f.txt", If_None_Match=first["ETag"])
        assert reply.status == 304
        for name in ("ETag", "Vary", "Cache-Control"):
            assert reply[name] == first[name]
        assert "Date" in reply
        for name in ("Content-Type", "Content-Encoding", "Last-Modified", "Transfer-Encoding"):
            assert name not in reply
        assert reply.all("Content-Length") in ([], [str(len(BODY))])

    async def test_the_connection_goes_on_after_it(self, served: Site, first: Reply) -> None:
        client = await served.connect()
        for _ in range(3):
            assert (await client.ask("/f.txt", If_None_Match=first["ETag"])).status == 304
            assert (await client.ask("/f.txt")).body == BODY
        client.close()

    async def test_it_is_about_the_coding_that_would_be_sent(self, served: Site, first: Reply) -> None:
        zipped = await served.ask("/f.txt", Accept_Encoding="gzip")
        again = await served.ask("/f.txt", Accept_Encoding="gzip", If_None_Match=zipped["ETag"])
        assert again.status == 304
        assert (await served.ask("/f.txt", Accept_Encoding="gzip", If_None_Match=first["ETag"])).status == 200
        assert (await served.ask("/f.txt", If_None_Match=zipped["ETag"])).status == 200

    async def test_a_changed_file_is_sent_again(self, served: Site, tmp_path: Path) -> None:
        first = await served.ask("/f.txt")
        (tmp_path / "new.txt").write_bytes(b"new")
        os.replace(tmp_path / "new.txt", tmp_path / "f.txt")
        async with site({"handler": "static", "root": str(tmp_path)}, file_cache={"check_interval": 0}) as running:
            reply = await running.ask("/f.txt", If_None_Match=first["ETag"])
        assert (reply.status, reply.body) == (200, b"new")


def test_a_date_is_no_strong_validator_within_its_second() -> None:
    """RFC 9110 §8.8.2.2."""
    date = formatdate(MODIFIED, usegmt=True).encode()
    assert not is_range_wanted(date, b'"a"', MODIFIED, MODIFIED + 0.5)
    assert is_range_wanted(date, b'"a"', MODIFIED, MODIFIED + 1)


def test_a_tag_may_hold_commas_and_high_octets() -> None:
    tag = b'"a,b\xe4"'
    assert evaluate({b"if-none-match": b'"x", "a,b\xe4"'}, tag, 0) is Outcome.NOT_MODIFIED
    assert evaluate({b"if-match": b'"a"'}, tag, 0) is Outcome.FAILED


def test_hostile_lists_are_read_in_linear_time() -> None:
    assert evaluate({b"if-none-match": b'"' * 60_000}, b'"a"', 0) is Outcome.PROCEED
    assert evaluate({b"if-none-match": b'W/"' * 20_000}, b'"a"', 0) is Outcome.PROCEED
