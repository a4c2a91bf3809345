"""Files found by path, and paths that must never lead outside the root."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npserver.web.handlers.static.root import FileError, Root, decode_path, is_hidden
from tests.stage.site import Site, site

SECRET = b"secret outside the root"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to serve, with a secret file outside it."""
    directory = tmp_path / "www"
    (directory / "docs" / "deep").mkdir(parents=True)
    (directory / "index.html").write_bytes(b"home")
    (directory / "docs" / "index.html").write_bytes(b"docs")
    (directory / "docs" / "a b.txt").write_bytes(b"space")
    (directory / "docs" / "ü.txt").write_bytes(b"umlaut")
    (directory / "100%.txt").write_bytes(b"percent")
    (directory / "back\\slash.txt").write_bytes(b"backslash")
    (directory / ".env").write_bytes(SECRET)
    (directory / ".git").mkdir()
    (directory / ".git" / "config").write_bytes(SECRET)
    (directory / ".well-known").mkdir()
    (directory / ".well-known" / "security.txt").write_bytes(b"known")
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "www-other").mkdir()
    (tmp_path / "www-other" / "f").write_bytes(SECRET)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "index.html").write_bytes(SECRET)
    (tmp_path / "private" / "f").write_bytes(SECRET)
    return directory


@pytest.fixture
async def served(root: Path) -> AsyncIterator[Site]:
    async with site({"handler": "static", "root": str(root)}) as running:
        yield running


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/", b"home"),
        ("/index.html", b"home"),
        ("/docs/", b"docs"),
        ("//docs///", b"docs"),
        ("/docs/deep/../", b"docs"),
        ("/docs/./a%20b.txt", b"space"),
        ("/docs/%C3%BC.txt", b"umlaut"),
        ("/docs/%c3%bc.txt", b"umlaut"),
        ("/100%25.txt", b"percent"),
        ("/back%5Cslash.txt", b"backslash"),
        ("/%64ocs/", b"docs"),
        ("/docs/?query", b"docs"),
        ("/.well-known/security.txt", b"known"),
        ("http://localhost/docs/", b"docs"),
    ],
)
async def test_a_target_finds_its_file(served: Site, target: str, body: bytes) -> None:
    reply = await served.ask(target)
    assert (reply.status, reply.body) == (200, body)


@pytest.mark.parametrize(
    "target",
    [
        "/missing", "/index.html/", "/index.html/x", "/docs/deep/", "/docs%2Findex.html", "/docs%2findex.html",
        "/.env", "/.git/config", "/.git/", "/.git", "/docs/../.env", "/.well-known/.x", "/.ENV",
        "/" + "x" * 300, "/" + "x/" * 1500, "/docs/a%20b.txt%20", "/%FF%FE",
    ],
)  # fmt: skip
async def test_a_target_without_a_file_is_not_found(served: Site, target: str) -> None:
    assert (await served.ask(target)).status == 404


#: Ways that have led out of other servers' roots (CVE-2024-23334 and its kin).
TRAVERSALS = [
    "/../secret", "/docs/../../secret", "/..%2fsecret", "/..%2Fsecret", "/%2e%2e/secret", "/%2e%2e%2fsecret",
    "/.%2e/secret", "/%2e./secret", "/%252e%252e/secret", "/%252e%252e%252fsecret", "/..%5csecret", "/..%5Csecret",
    "/docs/..%5c..%5csecret", "/....//secret", "/..;/secret", "/docs/..;/..;/secret", "/%00../secret", "/secret%00",
    "/index.html%00.png", "/..%00/secret", "/%c0%ae%c0%ae/secret", "/%c0%ae%c0%ae%c0%afsecret", "/.../secret",
    "/%uff0e%uff0e/secret", "/..%c0%afsecret", "//../secret", "///..//secret", "/./../secret", "/../www-other/f",
    "/..%2Fwww-other%2Ff", "/%2E%2E/www-other/f", "/docs/%2e%2e/%2e%2e/secret", "/docs%2f..%2f..%2fsecret",
    "/file:///etc/passwd", "/%2Fetc%2Fpasswd", "//etc/passwd", "/..\\secret", "/\\..\\secret",
]  # fmt: skip


@pytest.mark.parametrize("target", TRAVERSALS)
async def test_no_spelling_leaves_the_root(served: Site, target: str) -> None:
    reply = await served.ask(target)
    assert reply.status in (400, 403, 404)
    assert SECRET not in reply.body
    assert b"root:" not in reply.body


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["..", ".", "/", "%2e", "%2F", "%5c", "secret", "docs", "", "%00", "%", "x"]), max_size=8)
)
def test_no_combination_leaves_the_root(tmp_path_factory: pytest.TempPathFactory, pieces: list[str]) -> None:
    from npserver.errors import BadRequest
    from npserver.http.request_target import canonical_path

    base = tmp_path_factory.getbasetemp() / "containment"
    if not base.exists():
        (base / "www" / "docs").mkdir(parents=True)
        (base / "secret").write_bytes(SECRET)
    try:
        path = decode_path(canonical_path(("/" + "".join(pieces)).encode()))
    except BadRequest:
        return
    if path is not None:
        joined = os.path.normpath(str(base / "www") + path)
        assert joined == str(base / "www") or joined.startswith(str(base / "www") + "/")
        assert isinstance(Root(str(base / "www")).open_file(path), FileError)


class TestSymbolicLinks:
    async def test_links_inside_are_followed(self, served: Site, root: Path) -> None:
        (root / "link.txt").symlink_to("docs/a b.txt")
        (root / "dir").symlink_to("docs")
        assert (await served.ask("/link.txt")).body == b"space"
        assert (await served.ask("/dir/")).body == b"docs"
        assert (await served.ask("/dir"))["Location"] == "/dir/"

    @pytest.mark.parametrize("target", ["/file", "/dir/f", "/dir/", "/dir", "/chain", "/up/secret", "/up/www-other/f"])
    async def test_links_outside_are_not_followed(self, served: Site, root: Path, target: str) -> None:
        (root / "file").symlink_to(root.parent / "secret")
        (root / "dir").symlink_to("../private")
        (root / "chain").symlink_to("file")
        (root / "up").symlink_to("..")
        reply = await served.ask(target)
        assert reply.status == 403
        assert SECRET not in reply.body

    async def test_follow_symlinks_allows_links_outside(self, root: Path) -> None:
        (root / "file").symlink_to(root.parent / "secret")
        (root / "dir").symlink_to("../private")
        async with site({"handler": "static", "root": str(root), "follow_symlinks": True}) as running:
            assert (await running.ask("/file")).body == SECRET
            assert (await running.ask("/dir/")).body == SECRET
            assert (await running.ask("/dir"))["Location"] == "/dir/"

    async def test_link_loops_and_dangling_links_are_404(self, served: Site, root: Path) -> None:
        (root / "loop").symlink_to("loop")
        (root / "dead").symlink_to("nowhere")
        assert (await served.ask("/loop")).status == 404
        assert (await served.ask("/dead")).status == 404

    async def test_the_root_may_be_a_link_that_changes(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "next").mkdir()
        (tmp_path / "next" / "index.html").write_bytes(b"next release")
        current = tmp_path / "current"
        current.symlink_to("www")
        async with site({"handler": "static", "root": str(current)}, file_cache={"check_interval": 0}) as running:
            assert (await running.ask("/")).body == b"home"
            (tmp_path / "new").symlink_to("next")
            os.replace(tmp_path / "new", current)
            assert (await running.ask("/")).body == b"next release"

    async def test_a_directory_replaced_by_a_link_does_not_lead_outside(self, root: Path, tmp_path: Path) -> None:
        """Even for a file that is cached."""
        (root / "docs" / "f").write_bytes(b"inside")
        async with site({"handler": "static", "root": str(root)}, file_cache={"check_interval": 0}) as running:
            assert (await running.ask("/docs/f")).body == b"inside"
            os.rename(root / "docs", root / "old")
            (root / "docs").symlink_to("../private")
            assert (await running.ask("/docs/f")).status == 403

    def test_names_are_resolved_without_proc(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "file").symlink_to(root.parent / "secret")

        def unavailable(path: str) -> str:
            raise FileNotFoundError(path)

        monkeypatch.setattr(os, "readlink", unavailable)
        monkeypatch.setattr(os.path, "realpath", _resolve)
        one = Root(str(root))
        opened = one.open_file("/index.html")
        assert not isinstance(opened, FileError)
        os.close(opened[0])
        assert one.open_file("/file") is FileError.OUTSIDE


def _resolve(path: str) -> str:
    """Return the real path, from a shell, as `readlink` is taken away."""
    return str(Path(path).parent / "secret" if path.endswith("/file") else Path(path))


class TestWhatIsNoFile:
    async def test_special_files_never_block(self, served: Site, root: Path, socket_dir: Path) -> None:
        os.mkfifo(root / "fifo")
        (root / "null").symlink_to("/dev/null")
        (root / "terminal").symlink_to("/dev/tty")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(socket_dir / "s"))
        os.rename(socket_dir / "s", root / "socket")
        for name in ("fifo", "socket", "null", "terminal"):
            assert (await served.ask(f"/{name}")).status == 404
        listener.close()

    async def test_a_fifo_that_replaces_a_file_does_not_block(self, root: Path) -> None:
        (root / "big").write_bytes(b"x" * 100_000)
        async with site({"handler": "static", "root": str(root)}, file_cache={"check_interval": 60}) as running:
            assert (await running.ask("/big")).status == 200
            assert (await running.ask("/big")).status == 200
            os.unlink(root / "big")
            os.mkfifo(root / "big")
            assert (await running.ask("/big")).status == 404

    async def test_an_unreadable_file_is_forbidden(
        self, served: Site, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As seen by a user with fewer rights than the one who runs the tests may have."""
        real_open = os.open

        def refusing(path: Any, flags: int, *rest: Any) -> int:
            if str(path).endswith("index.html"):
                raise PermissionError(13, "Permission denied")
            return real_open(path, flags, *rest)

        monkeypatch.setattr(os, "open", refusing)
        assert (await served.ask("/")).status == 403

    async def test_running_out_of_descriptors_is_503_and_recovers(
        self, served: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = await served.connect()

        def exhausted(path: Any, flags: int, *rest: Any) -> int:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(os, "open", exhausted)
            assert (await client.ask("/")).status == 503
        assert (await client.ask("/")).body == b"home"
        client.close()


class TestDotFiles:
    async def test_the_rule_can_show_them(self, root: Path) -> None:
        async with site({"handler": "static", "root": str(root), "dotfiles": True}) as running:
            assert (await running.ask("/.git/config")).status == 200

    @pytest.mark.parametrize(
        ("path", "hidden"),
        [("/a", False), ("/.a", True), ("/a/.b/c", True), ("/a.b", False), ("/.well-known/x", False), ("", False),
         ("/.well-known-not", True), ("/a/.well-known/.b", True)],
    )  # fmt: skip
    def test_names_that_begin_with_a_dot_are_hidden(self, path: str, hidden: bool) -> None:
        assert is_hidden(path) is hidden
