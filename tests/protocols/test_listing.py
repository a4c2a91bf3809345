"""Listings of directories."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npserver.web.handlers.static import listing
from npserver.web.handlers.static.listing import BY_NAME, Item, readable_size, render
from tests.stage.site import Reply, Site, site

MODIFIED = 784111777
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "a", "ul", "li", "span", "time", "p"}


class Links(HTMLParser):
    """Collects a page's links, and tags that no listing has."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href" and value is not None]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "www"
    (directory / "docs" / "Zeta").mkdir(parents=True)
    (directory / "docs" / "alpha").mkdir()
    for name, size in (("a10.txt", 10), ("a2.txt", 2048), ("B.txt", 5_000_000), ("ü ?#%&.txt", 1), ("<b>&\"'.txt", 0)):
        (directory / "docs" / name).write_bytes(b"x" * size)
        os.utime(directory / "docs" / name, (MODIFIED, MODIFIED))
    (directory / "docs" / ".hidden").write_bytes(b"x")
    (directory / "with-index").mkdir()
    (directory / "with-index" / "index.html").write_bytes(b"index")
    return directory


@pytest.fixture
async def served(root: Path) -> AsyncIterator[Site]:
    async with site({"handler": "static", "root": str(root), "browse": True}) as running:
        yield running


async def names(site_: Site, path: str) -> list[str]:
    reply = await site_.ask(path, Accept="application/json")
    assert reply["Content-Type"] == "application/json"
    return [entry["name"] for entry in json.loads(reply.body)["entries"]]


async def test_directories_come_first_and_names_are_in_natural_order(served: Site) -> None:
    assert await names(served, "/docs/") == ["alpha", "Zeta", "<b>&\"'.txt", "a2.txt", "a10.txt", "B.txt", "ü ?#%&.txt"]


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("?sort=size", ["alpha", "Zeta", "big", "mid", "tiny"]),  # directories have no size
        ("?sort=size&order=asc", ["alpha", "Zeta", "tiny", "mid", "big"]),
        ("?sort=time", ["alpha", "Zeta", "mid", "tiny", "big"]),
        ("?sort=time&order=asc", ["Zeta", "alpha", "big", "tiny", "mid"]),
        ("?sort=name&order=desc", ["Zeta", "alpha", "tiny", "mid", "big"]),
        ("", ["alpha", "Zeta", "big", "mid", "tiny"]),
        ("?sort=<script>&order=%00&sort", ["alpha", "Zeta", "big", "mid", "tiny"]),
    ],
)
async def test_a_page_is_sorted_by_its_query(tmp_path: Path, query: str, order: list[str]) -> None:
    root = tmp_path / "www"
    for name, age in (("alpha", 1), ("Zeta", 2)):
        (root / name).mkdir(parents=True)
        os.utime(root / name, (MODIFIED - age, MODIFIED - age))
    for name, size, age in (("big", 5000, 3), ("mid", 50, 1), ("tiny", 5, 2)):
        (root / name).write_bytes(b"x" * size)
        os.utime(root / name, (MODIFIED - age, MODIFIED - age))
    async with site({"handler": "static", "root": str(root), "browse": True}) as served:
        page = Links((await served.ask(f"/{query}", Accept="text/html")).body)
        assert [link[2:].rstrip("/") for link in page.links if link.startswith("./")] == order
        assert await names(served, f"/{query}") == ["alpha", "Zeta", "big", "mid", "tiny"], "JSON stays as it is"


async def test_the_link_of_the_current_order_reverses_it(served: Site) -> None:
    page = Links((await served.ask("/docs/", Accept="text/html")).body)
    links = [link for link in page.links if link.startswith("?")]
    assert links == ["?sort=name&order=desc", "?sort=time&order=desc", "?sort=size&order=desc"]
    page = Links((await served.ask("/docs/" + links[2], Accept="text/html")).body)
    assert "?sort=size&order=asc" in page.links
    assert "Size ▼" in page.text


async def test_json_lists_types_sizes_and_dates(served: Site) -> None:
    document = json.loads((await served.ask("/docs/", Accept="application/json")).body)
    assert document["path"] == "/docs/"
    assert document["omitted"] == 0
    by_name = {entry["name"]: entry for entry in document["entries"]}
    assert by_name["a2.txt"] == {
        "name": "a2.txt", "type": "file", "size": 2048, "modified": "1994-11-06T08:49:37Z", "href": "./a2.txt",
    }  # fmt: skip
    assert (by_name["alpha"]["type"], by_name["alpha"]["size"], by_name["alpha"]["href"]) == (
        "directory",
        None,
        "./alpha/",
    )


async def test_the_page_shows_sizes_and_dates_and_needs_no_script(served: Site) -> None:
    reply = await served.ask("/docs/", Accept="text/html")
    assert reply["Content-Type"] == "text/html; charset=utf-8"
    assert reply["Vary"] == "Accept"
    assert "default-src 'none'" in reply["Content-Security-Policy"]
    page = reply.body.decode()
    assert 'name="viewport"' in page
    for part in ("2.0 KB", "4.8 MB", "1994-11-06 08:49", "2 directories, 5 files"):
        assert part in page
    assert "<script" not in page
    assert Links(reply.body).tags <= TAGS


async def test_every_link_finds_its_file(served: Site, root: Path) -> None:
    reply = await served.ask("/docs/")
    links = [link for link in Links(reply.body).links if link.startswith("./") and link != "./"]
    assert len(links) == 7
    for link in links:
        target = urljoin("http://h/docs/", link).removeprefix("http://h")
        found = await served.ask(target)
        assert found.status == 200
        name = unquote(target)
        if not name.endswith("/"):
            assert found.body == (root / name[1:]).read_bytes()


async def test_hidden_special_and_outside_files_are_not_listed(served: Site, root: Path, tmp_path: Path) -> None:
    os.mkfifo(root / "docs" / "fifo")
    (tmp_path / "secret").mkdir()
    (root / "docs" / "out").symlink_to(tmp_path / "secret")
    (root / "docs" / "dead").symlink_to("nowhere")
    (root / "docs" / "in").symlink_to("alpha")
    found = await names(served, "/docs/")
    assert "in" in found
    assert not {"fifo", "out", "dead", ".hidden"} & set(found)


async def test_an_index_file_is_sent_instead_of_a_listing(served: Site) -> None:
    assert (await served.ask("/with-index/")).body == b"index"


async def test_without_browse_there_is_no_listing(root: Path) -> None:
    async with site({"handler": "static", "root": str(root)}) as running:
        assert (await running.ask("/docs/")).status == 404


async def test_a_linked_directory_outside_is_not_listed(served: Site, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "name").write_bytes(b"")
    (root / "out").symlink_to(tmp_path / "secret")
    assert (await served.ask("/out/")).status == 403


async def test_head_sends_no_listing(served: Site) -> None:
    assert (await served.ask("/docs/", "HEAD")).status == 200


async def test_a_long_listing_is_cut_and_counts_the_rest(
    served: Site, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_ITEMS", 3)
    assert len(await names(served, "/docs/")) == 3
    reply: Reply = await served.ask("/docs/", Accept="application/json")
    assert json.loads(reply.body)["omitted"] == 4
    assert b"and 4 more" in (await served.ask("/docs/")).body


async def test_names_that_are_not_unicode(served: Site, root: Path) -> None:
    (root / "docs" / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"odd")
    reply = await served.ask("/docs/")
    link = next(link for link in Links(reply.body).links if "%FF" in link)
    assert (await served.ask("/docs/" + link[2:])).body == b"odd"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30))
def test_names_are_escaped(name: str) -> None:
    _, page = render([Item(name, False, 1, 0)], "/d/", BY_NAME)
    links = Links(page)
    assert links.tags <= TAGS
    target = next(link for link in links.links if link.startswith("./") and link != "./")
    assert re.fullmatch(r"\./[A-Za-z0-9%_.~-]+", target)
    if name not in (".", ".."):
        assert urljoin("http://h/d/", target).startswith("http://h/d/")
        assert unquote(target[2:]) == name
    json.loads(render([Item(name, False, 1, 0)], "/d/", None)[1])


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (1536, "1.5 KB"), (10_240, "10 KB"), (5 << 20, "5.0 MB"),
     (3 << 30, "3.0 GB"), (2 << 40, "2.0 TB")],
)  # fmt: skip
def test_sizes_are_written_with_units(size: int, text: str) -> None:
    assert readable_size(size) == text


def test_dates_out_of_range_are_written_as_1970() -> None:
    assert b"1970-01-01" in render([Item("a", False, 1, 10**18)], "/", BY_NAME)[1]
