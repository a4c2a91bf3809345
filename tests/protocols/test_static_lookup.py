"""Finding the file of a request: directories, prefixes, fallbacks and `try_files`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from npserver.web.handlers.static import cache, files
from tests.stage.site import Site, site


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "www"
    (directory / "docs" / "deep").mkdir(parents=True)
    (directory / "index.html").write_bytes(b"home")
    (directory / "docs" / "index.html").write_bytes(b"docs")
    (directory / "docs" / "a b.txt").write_bytes(b"space")
    return directory


@pytest.fixture
async def served(root: Path) -> AsyncIterator[Site]:
    async with site({"handler": "static", "root": str(root)}) as running:
        yield running


class TestDirectories:
    @pytest.mark.parametrize(
        ("target", "location"),
        [
            ("/docs", "/docs/"),
            ("/docs?a=b&c", "/docs/?a=b&c"),
            ("/docs?", "/docs/?"),
            ("/docs/deep", "/docs/deep/"),
            ("//docs", "/docs/"),
            ("http://localhost/docs", "/docs/"),
        ],
    )
    async def test_the_slash_is_added_and_the_query_kept(self, served: Site, target: str, location: str) -> None:
        reply = await served.ask(target)
        assert (reply.status, reply["Location"]) == (301, location)

    @pytest.mark.parametrize(
        "target",
        ["//evil.example/..", "/%5cevil.example", "/%5Cevil.example/..", "//evil.example", "/%09/evil.example"],
    )
    async def test_a_redirect_never_leaves_the_origin(self, served: Site, root: Path, target: str) -> None:
        for name in ("evil.example", "\\evil.example", "\t"):
            (root / name).mkdir()
        (root / "\t" / "evil.example").mkdir()
        reply = await served.ask(target)
        for location in reply.all("Location"):
            assert location[0] == "/"
            assert location[1] not in "/\\\t"

    async def test_the_first_index_name_that_exists_is_taken(self, root: Path) -> None:
        (root / "docs" / "main.htm").write_bytes(b"main")
        rule = {"handler": "static", "root": str(root), "index": ["main.htm", "index.html"]}
        async with site(rule) as running:
            assert (await running.ask("/docs/")).body == b"main"
            assert (await running.ask("/")).body == b"home"

    async def test_an_index_that_appears_is_found(self, root: Path) -> None:
        rule = {"handler": "static", "root": str(root), "index": ["a.html", "index.html"]}
        async with site(rule, file_cache={"check_interval": 0}) as running:
            assert (await running.ask("/")).body == b"home"
            (root / "a.html").write_bytes(b"earlier")
            assert (await running.ask("/")).body == b"earlier"


class TestPrefix:
    @pytest.fixture
    async def media(self, root: Path) -> AsyncIterator[Site]:
        rules = [
            {"handler": "static", "root": str(root / "docs"), "path": "/usermedia/**"},
            {"handler": "static", "root": str(root), "path": "/index.html"},
        ]
        async with site(*rules) as running:
            yield running

    @pytest.mark.parametrize(
        ("target", "status", "body"),
        [("/usermedia/a%20b.txt", 200, b"space"), ("/usermedia/", 200, b"docs"), ("/usermedia", 301, None),
         ("/usermedia/../index.html", 200, b"home"), ("/a%20b.txt", 404, None), ("/usermediax/", 404, None),
         ("/usermedia/usermedia/", 404, None), ("/index.html", 200, b"home")],
    )  # fmt: skip
    async def test_the_prefix_is_removed(self, media: Site, target: str, status: int, body: bytes | None) -> None:
        reply = await media.ask(target)
        assert reply.status == status
        if body is not None:
            assert reply.body == body
        if status == 301:
            assert reply["Location"] == "/usermedia/"


class TestFallbackAndTryFiles:
    async def test_a_missing_file_is_answered_with_the_fallback(self, root: Path) -> None:
        rule = {"handler": "static", "root": str(root), "fallback": "index.html"}
        async with site(rule) as running:
            for target in ("/app/route", "/x.js", "/docs/deep/", "/.env"):
                reply = await running.ask(target)
                assert (reply.status, reply.body) == (200, b"home")
            assert (await running.ask("/docs/")).body == b"docs"
            assert (await running.ask("/app/route", If_None_Match=reply["ETag"])).status == 304
            assert (await running.ask("/app", "POST")).status == 405

    async def test_random_paths_are_not_cached(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "UNSETTLED_NS", 0)
        rule = {"handler": "static", "root": str(root), "try_files": ["$path", "/index.html"]}
        caches: list[cache.RepresentationCache] = []
        original = cache.RepresentationCache.__init__

        def remember(self: cache.RepresentationCache, max_bytes: int) -> None:
            caches.append(self)
            original(self, max_bytes)

        monkeypatch.setattr(cache.RepresentationCache, "__init__", remember)
        async with site(rule) as running:
            client = await running.connect()
            for number in range(50):
                assert (await client.ask(f"/random/{number}")).body == b"home"
            client.close()
            kept = caches[-1]
            assert len(kept._entries) == 1
            assert len(next(iter(kept._entries)).keys) <= cache.MAX_KEYS

    @pytest.mark.parametrize(
        ("target", "status", "body"),
        [("/docs/page", 200, b"page"), ("/", 200, b"home"), ("/docs/", 200, b"docs"), ("/docs", 301, None),
         ("/nothing", 404, None), ("/docs/a%20b.txt", 200, b"space"), ("/../secret", 400, None)],
    )  # fmt: skip
    async def test_the_first_of_try_files_that_exists_is_served(
        self, root: Path, target: str, status: int, body: bytes | None
    ) -> None:
        (root / "docs" / "page.html").write_bytes(b"page")
        rule = {"handler": "static", "root": str(root), "try_files": ["$path", "$path.html", "$path/", "=404"]}
        async with site(rule) as running:
            for _ in range(2):
                reply = await running.ask(target)
                assert reply.status == status
                if body is not None:
                    assert reply.body == body

    async def test_try_files_may_end_with_a_status(self, root: Path) -> None:
        async with site({"handler": "static", "root": str(root), "try_files": ["$path", "=410"]}) as running:
            assert (await running.ask("/gone")).status == 410

    async def test_try_files_may_depend_on_the_host(self, root: Path) -> None:
        for host in ("a.example", "b.example"):
            (root / host).mkdir()
            (root / host / "f").write_bytes(host.encode())
        rule = {"handler": "static", "root": str(root), "try_files": ["/$host$path"]}
        async with site(rule) as running:
            for _ in range(2):
                assert (await running.ask("/f", Host="a.example")).body == b"a.example"
                assert (await running.ask("/f", Host="b.example")).body == b"b.example"
            for host in ("..", "private", "a.example/.."):
                assert (await running.ask("/f", Host=host)).status in (400, 404)

    async def test_try_files_below_a_prefix_are_relative_to_the_root(self, root: Path) -> None:
        rule = {"handler": "static", "path": "/app/**", "root": str(root), "try_files": ["$path", "/docs/index.html"]}
        async with site(rule) as running:
            assert (await running.ask("/app/index.html")).body == b"home"
            assert (await running.ask("/app/some/where")).body == b"docs"
