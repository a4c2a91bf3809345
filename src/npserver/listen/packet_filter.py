"""Classic BPF programs, by which the kernel decides about what a socket gets (linux/filter.h). Linux only."""

from __future__ import annotations

import array
import socket
import struct
from collections.abc import Sequence

Instruction = tuple[int, int, int, int]  # code, how many to skip if a condition holds and if not, operand


def attach_program(sock: socket.socket, option: int, program: Sequence[Instruction]) -> None:
    """Set an option of SOL_SOCKET whose value is a program. Raises: OSError."""
    code = array.array("B", b"".join(struct.pack("=HBBI", *one) for one in program))
    address, _ = code.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@HP", len(program), address))
