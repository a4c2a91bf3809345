"""Memory that one process writes and others read."""

from __future__ import annotations

import itertools
import os
import threading

import pytest

from npserver.runtime import shared_file
from npserver.runtime.shared_file import Region, SharedFile


def test_another_process_reads_what_was_written_after_the_fork() -> None:
    file = SharedFile()
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.read(reader, 1)
        view = file.map(Region(0, 10))
        os._exit(0 if bytes(view) == b"abc\0\0\0\0\0\0\0" else 1)
    region = file.allocate(10)
    file.write(region, 0, b"abc")
    os.write(writer, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reader)
    os.close(writer)


def test_regions_do_not_overlap_whoever_asks_for_them() -> None:
    file = SharedFile()
    found: list[Region] = []
    threads = [threading.Thread(target=lambda: found.extend(file.allocate(5000) for _ in range(50))) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    offsets = sorted(one.offset for one in found)
    assert len(offsets) == 200
    assert all(after - before >= 5000 for before, after in itertools.pairwise(offsets))


def test_what_is_freed_takes_no_memory_and_reads_as_zeros() -> None:
    file = SharedFile()
    region, other = file.allocate(1 << 20), file.allocate(100)
    file.write(region, 0, b"x" * (1 << 20))
    file.write(other, 0, b"y")
    view = file.map(region)
    file.free(region)
    assert file.used_bytes <= 8192
    assert (view[0], view[-1], file.map(other)[0]) == (0, 0, ord("y"))


def test_nothing_is_written_beyond_a_region_or_into_what_is_mapped() -> None:
    file = SharedFile()
    region = file.allocate(4)
    with pytest.raises(ValueError, match="exceeds"):
        file.write(region, 2, b"abc")
    assert file.map(region).readonly
    assert bytes(file.map(file.allocate(0))) == b""
    file.free(Region(0, 0))


def test_the_descriptor_is_closed_with_it() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    file = SharedFile()
    view = file.map(file.allocate(10))
    del file, view
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


def test_one_that_outlives_its_module_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a process Python takes the names of modules away before objects."""
    file = SharedFile()
    descriptor = file._descriptor
    monkeypatch.setattr(shared_file, "os", None)
    del file
    monkeypatch.undo()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
