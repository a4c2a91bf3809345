"""Memory that the controller fills and all workers read: regions of one file, which is in memory and has no name.

The master makes it before it forks. A region is written once; the others are told where it is, and map it. Its memory
is taken while it is in use only: the file grows, but what was freed is a hole in it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import threading
import weakref

from msgspec import Struct


class Region(Struct, frozen=True):
    """A part of the file."""

    offset: int
    bytes: int


class SharedFile:
    """The file. Its descriptor is closed with it, or when nothing refers to it any more; what is mapped stays."""

    __slots__ = ("__weakref__", "_close", "_descriptor", "_growing")

    def __init__(self) -> None:
        self._growing = threading.Lock()
        try:
            self._descriptor = os.memfd_create("npserver")
        except (AttributeError, OSError):  # another system than Linux, or a sandbox
            with tempfile.TemporaryFile() as file:
                self._descriptor = os.dup(file.fileno())
        self._close = weakref.finalize(self, os.close, self._descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        self._close()
        self._descriptor = -1

    def __repr__(self) -> str:
        return f"<SharedFile {os.fstat(self._descriptor).st_size} bytes>"

    def allocate(self, size: int) -> Region:
        """Return a new region, of zeros. Only the controller calls it. Raises: OSError."""
        page = mmap.ALLOCATIONGRANULARITY
        with self._growing:
            offset = -(-os.fstat(self._descriptor).st_size // page) * page
            os.ftruncate(self._descriptor, offset + max(size, 1))
        return Region(offset, size)

    def write(self, region: Region, position: int, data: bytes | memoryview) -> None:
        """Write into a region before others are told of it. Raises: OSError, if there is no memory left."""
        view = memoryview(data).cast("B")
        if position + len(view) > region.bytes:
            raise ValueError("the data exceeds the region")
        while view:
            written = os.pwrite(self._descriptor, view, region.offset + position)
            view, position = view[written:], position + written

    def map(self, region: Region) -> memoryview:
        """Return the content of a region, read only; it is mapped as long as the view is. Raises: OSError."""
        if not region.bytes:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._descriptor, region.bytes, offset=region.offset, access=mmap.ACCESS_READ))

    def free(self, region: Region) -> None:
        """Give the memory of a region back. Whoever still has it mapped reads zeros."""
        if region.bytes and hasattr(mmap, "MADV_REMOVE"):
            with (
                contextlib.suppress(OSError),
                mmap.mmap(self._descriptor, region.bytes, offset=region.offset) as mapped,
            ):
                mapped.madvise(mmap.MADV_REMOVE)

    @property
    def used_bytes(self) -> int:
        """The memory that the regions take."""
        return os.fstat(self._descriptor).st_blocks * 512
