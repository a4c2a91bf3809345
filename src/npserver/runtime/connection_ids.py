"""The ids of QUIC connections in memory shared by all processes: which worker has a connection.

The kernel chooses a worker by the addresses of a datagram; the connection ids in it stay the same when a client's
address changes (RFC 9000 §5.1). `listen.quic.endpoint` keeps the ids of its connections
here, and looks up those of others.
"""

from __future__ import annotations

import mmap

BUCKETS = 1 << 15  # per worker
WAYS = 4  # ids of a bucket; a further one is not found by other workers
ID_BYTES = 8
_SIZE = 1 + BUCKETS * WAYS  # the first place says whether there has been any id


class ConnectionIds:
    """The connection ids of all workers, without locks: each worker writes only its own row.

    Pages that are never used take no memory.
    """

    __slots__ = ("_memory", "_rows")

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, max(workers, 1) * _SIZE * ID_BYTES)
        view = memoryview(self._memory).cast("Q")
        self._rows = [view[number * _SIZE : (number + 1) * _SIZE] for number in range(workers)]

    def add(self, worker: int, connection_id: bytes) -> None:
        """Let other workers find `worker` by an id of 8 bytes."""
        row = self._rows[worker]
        row[0] = 1
        for place in _places(connection_id):
            if not row[place]:
                row[place] = int.from_bytes(connection_id, "little")
                return

    def discard(self, worker: int, connection_id: bytes) -> None:
        """Forget an id."""
        row, value = self._rows[worker], int.from_bytes(connection_id, "little")
        for place in _places(connection_id):
            if row[place] == value:
                row[place] = 0

    def clear(self, worker: int) -> None:
        """Forget all ids of a worker that has ended."""
        row = self._rows[worker]
        if row[0]:
            for place in range(1, _SIZE):
                if row[place]:
                    row[place] = 0

    def find(self, connection_id: bytes, but: int) -> int | None:
        """Return the worker of an id, other than `but`; None if it is of none."""
        value = int.from_bytes(connection_id, "little")
        places = _places(connection_id)
        for worker, row in enumerate(self._rows):
            if worker != but and row[0] and value in row[places.start : places.stop].tolist():
                return worker
        return None


def _places(connection_id: bytes) -> range:
    first = 1 + int.from_bytes(connection_id[:4], "little") % BUCKETS * WAYS
    return range(first, first + WAYS)
