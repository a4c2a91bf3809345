"""The directory of the response cache: whole files or none, whatever happens to those who write them.

Covers `web.handlers.proxy.cache.claim`, `web.handlers.proxy.cache.entry` and `web.handlers.proxy.cache.tidy`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from npserver.http.caching import Freshness
from npserver.runtime.scoreboard import Scoreboard
from npserver.web.handlers.proxy.cache.claim import Claim
from npserver.web.handlers.proxy.cache.entry import StoredHead, open_entry, read_entry
from npserver.web.handlers.proxy.cache.store import CacheStore
from npserver.web.handlers.proxy.cache.tidy import find_stranger, purge

KEY, DIGEST = b"https://a/", "ab" * 20
HEAD = StoredHead(KEY, "https://a/", b"", (), (), 200, b"A: b\r\n", 1.5, 0.5, Freshness(60.0, True, True), b'"e"')


def store(directory: Path, **limits: Any) -> CacheStore:
    limits = {"max_bytes": 1 << 20, "max_entries": 100, "max_variants": 8, "memory_bytes": 1000, **limits}
    return CacheStore(str(directory), Scoreboard(2, b"seed").row(0), **limits)


def put(one: CacheStore, body: bytes = b"body", digest: str = DIGEST, head: StoredHead = HEAD) -> Claim:
    claim = one.claim(digest)
    assert claim is not None
    assert claim.start(head)
    assert claim.write(body)
    assert claim.commit(digest)
    claim.close()
    return claim


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_stored_response_is_found_by_every_worker(directory: Path) -> None:
    put(store(directory))
    entry = store(directory).find(DIGEST, KEY, {})
    assert entry is not None
    assert entry.head == HEAD
    assert entry.body == b"body"
    assert oct(directory.stat().st_mode)[-3:] == "700"
    assert oct(os.stat(entry.path).st_mode)[-3:] == "600"


def test_a_response_that_comes_while_the_folders_are_made_is_stored(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process, which has made the first of them."""
    makedirs, stored = os.makedirs, False

    def storing_meanwhile(path: str, *args: Any, **options: Any) -> None:
        nonlocal stored
        makedirs(path, *args, **options)
        if path.endswith("/00") and not stored:
            stored = True
            put(store(directory), digest="ff" * 20)

    monkeypatch.setattr("npserver.web.handlers.proxy.cache.store.os.makedirs", storing_meanwhile)
    store(directory).prepare()
    assert stored
    assert store(directory).find("ff" * 20, KEY, {}) is not None


def test_a_directory_whose_folders_were_being_made_when_the_server_was_killed_is_its_own(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makedirs, made = os.makedirs, 0

    def until_killed(*args: Any, **options: Any) -> None:
        nonlocal made
        made += 1
        if made == 10:
            raise KeyboardInterrupt
        makedirs(*args, **options)

    monkeypatch.setattr("npserver.web.handlers.proxy.cache.store.os.makedirs", until_killed)
    with pytest.raises(KeyboardInterrupt):
        store(directory).prepare()
    assert find_stranger(str(directory)) is None


@pytest.mark.parametrize("cut", [1, 5, 30, 60])
def test_a_file_that_is_not_whole_is_not_served(directory: Path, cut: int) -> None:
    one = store(directory)
    put(one)
    path = Path(one.path(DIGEST))
    path.write_bytes(path.read_bytes()[:-cut])
    assert one.find(DIGEST, KEY, {}) is None
    assert read_entry(str(path)) is None


def test_a_file_with_other_bytes_is_not_served(directory: Path) -> None:
    one = store(directory)
    put(one)
    path = Path(one.path(DIGEST))
    whole = path.read_bytes()
    for place in range(len(whole) - 25):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        entry = read_entry(str(path))
        assert entry is None or entry.size == 4
    path.write_bytes(bytes(len(whole)))  # as a disk leaves it that lost power
    assert read_entry(str(path)) is None


def test_a_link_in_the_place_of_a_file_is_not_followed(directory: Path) -> None:
    one = store(directory)
    put(one)
    path = Path(one.path(DIGEST))
    path.rename(directory / "elsewhere")
    path.symlink_to(directory / "elsewhere")
    assert one.find(DIGEST, KEY, {}) is None


def test_one_worker_fills_while_others_are_told_to_wait(directory: Path) -> None:
    first, second = store(directory), store(directory)
    claim = first.claim(DIGEST)
    assert claim is not None
    assert second.claim(DIGEST) is None
    claim.close()
    again = second.claim(DIGEST)
    assert again is not None
    again.close()
    assert list((directory / ".new").iterdir()) == []


KILLED = """
import os, signal, sys
sys.path.insert(0, "tests/unit/web/handlers/proxy/cache")
from pathlib import Path
from test_store import DIGEST, HEAD, store
claim = store(Path(sys.argv[1])).claim(DIGEST)
claim.start(HEAD)
claim.write(b"half")
print("ready", flush=True)
signal.pause()
"""


def test_what_a_killed_worker_was_storing_is_never_served_and_is_taken_over(directory: Path) -> None:
    one = store(directory)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(directory)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "src:."},
        cwd=Path(__file__).parents[6],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert one.claim(DIGEST) is None, "it lives"
    assert one.find(DIGEST, KEY, {}) is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert one.find(DIGEST, KEY, {}) is None
    assert [file.name for file in (directory / ".new").iterdir()] == [DIGEST]
    put(one, b"whole")
    entry = one.find(DIGEST, KEY, {})
    assert entry is not None
    assert entry.body == b"whole"


def test_leftovers_are_removed_but_not_what_is_being_received(directory: Path) -> None:
    one = store(directory)
    put(one)
    claim = one.claim("cd" * 20)
    assert claim is not None
    assert claim.start(HEAD)
    for left in ("ee" * 20, "ee" * 20 + "-1f", "ee" * 20 + ".123"):
        (directory / ".new" / left).write_bytes(b"over")
    one.tidy(recounts=True)
    assert [file.name for file in (directory / ".new").iterdir()] == ["cd" * 20]
    size = sum(file.stat().st_size for file in directory.rglob("??/*")) + os.fstat(claim.file).st_size
    assert one.row.slots[one.bytes_slot] == size
    assert one.row.slots[one.entries_slot] == 1
    claim.close()


def test_counts_are_set_right_after_a_kill(directory: Path) -> None:
    one = store(directory)
    put(one)
    one.row.slots[one.bytes_slot] = 999_999
    one.tidy(recounts=True)
    assert one.row.slots[one.bytes_slot] == Path(one.path(DIGEST)).stat().st_size


def test_those_unused_for_longest_are_evicted_first(directory: Path) -> None:
    one = store(directory, max_entries=10)
    names = [f"{number:02x}" * 20 for number in range(10)]
    for number, name in enumerate(names):
        put(one, digest=name)
        os.utime(one.path(name), ns=(number, number))
    entry = one.find(names[0], KEY, {})
    assert entry is not None
    one.touch(entry, 1e9)
    assert not one.has_room(1)
    assert one.tidy() == 1
    assert one.find(names[0], KEY, {}) is not None
    assert one.find(names[1], KEY, {}) is None
    assert one.has_room(1)


def test_a_removed_key_is_not_stored_by_who_was_receiving_it(directory: Path) -> None:
    one = store(directory)
    claim = one.claim(DIGEST)
    assert claim is not None
    assert claim.start(HEAD)
    store(directory).remove(DIGEST)
    assert not claim.commit(DIGEST)
    claim.close()
    assert one.find(DIGEST, KEY, {}) is None
    assert one.row.slots[one.bytes_slot] == 0


def test_an_entry_whose_file_was_replaced_is_not_opened(directory: Path) -> None:
    one = store(directory)
    put(one)
    entry = one.find(DIGEST, KEY, {})
    assert entry is not None
    put(one, b"other")
    assert open_entry(entry) is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_a_directory_that_others_can_write_to_is_refused(directory: Path, mode: int) -> None:
    directory.mkdir()
    directory.chmod(mode)
    faults: list[str] = []
    if mode & 0o022:
        with pytest.raises(PermissionError):
            store(directory).claim(DIGEST)
        assert store(directory).tidy(faults.append) == 0
        assert len(faults) == 1
    directory.chmod(0o700)
    put(store(directory))


def test_a_link_is_no_directory(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(0o700)
    directory.symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="only its own user"):
        store(directory).prepare()


def test_purge(directory: Path) -> None:
    one = store(directory)
    urls = ["https://a/x", "https://a/x/y", "https://a/z"]
    for number, url in enumerate(urls):
        head = StoredHead(KEY, url, b"", (), (), 200)
        put(one, digest=f"{number:02x}" * 20, head=head)
    claim = one.claim(DIGEST)
    assert claim is not None
    assert claim.start(HEAD)
    assert purge(str(directory), "https://a/x", is_prefix=False) == 1
    assert purge(str(directory), "https://a/x", is_prefix=True) == 1
    assert purge(str(directory), "https://a/none", is_prefix=False) == 0
    assert not claim.commit(DIGEST), "it may be from before the purge"
    claim.close()
    assert one.find("02" * 20, KEY, {}) is not None
    assert purge(str(directory / "none"), "https://a/", is_prefix=True) == 0


def test_the_memory_of_a_worker_is_bounded(directory: Path) -> None:
    one = store(directory, memory_bytes=10)
    for number in range(5):
        put(one, b"body", f"{number:02x}" * 20)
        assert one.find(f"{number:02x}" * 20, KEY, {}) is not None
        assert one._known_bytes <= 10
    assert [entry.body for entry in one.known.values()] == [b"body", b"body"]
    put(one, b"more than that")
    entry = one.find(DIGEST, KEY, {})
    assert entry is not None
    assert entry.body is None
    file = open_entry(entry)
    assert file is not None
    assert os.pread(file, 100, entry.offset)[: entry.size] == b"more than that"
    os.close(file)


def test_a_file_system_that_is_smaller_than_max_size_bounds_the_cache(directory: Path) -> None:
    one = store(directory, max_bytes=1 << 60)
    one.prepare()
    space = os.statvfs(directory)
    assert one.max_bytes == space.f_frsize * space.f_blocks * 3 // 4


def test_files_of_others_stay(directory: Path) -> None:
    one = store(directory)
    for number in range(30):
        put(one, digest=f"ab{number:038x}")
    others = [directory / "ab" / "page.html", directory / ".new" / "letter.txt", directory / "de" / "index.html"]
    for other in others:
        other.write_text("of another program")
        os.utime(other, (0, 0))
    assert store(directory, max_entries=10).tidy(recounts=True) == 21
    assert [other.read_text() for other in others] == ["of another program"] * 3
    assert purge(str(directory), "", is_prefix=True) > 0
    assert all(other.exists() for other in others)
