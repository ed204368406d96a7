"""Memory that a worker process writes and the process that started it reads."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

_PAGE = mmap.ALLOCATIONGRANULARITY
_COUNT = struct.Struct("=Q")
_BLOCKS = 256
"""Blocks that are mapped at once: a mapping costs a descriptor, of which a process may have a thousand."""


class SharedMemory:
    """Blocks of one size behind a descriptor that a child process may inherit; the memory goes with its last user.

    A page at the front says how many blocks there are. Only what has been written takes memory.

    Args:
        size: Bytes of a block, a multiple of the page size.
        descriptor: That of another process's memory; ``None``: new memory.
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        self._size = size
        self._regions: list[mmap.mmap] = []
        if descriptor is None:
            descriptor = _anonymous()
            os.ftruncate(descriptor, _PAGE)
        self.descriptor = descriptor
        self._front = mmap.mmap(descriptor, _PAGE)

    def __len__(self) -> int:
        """How many blocks there are."""
        return int(_COUNT.unpack_from(self._front)[0])

    def add(self) -> memoryview:
        """Make a block, zeroed; the writer's side."""
        index = len(self)
        if index % _BLOCKS == 0:
            os.ftruncate(self.descriptor, _PAGE + (index + _BLOCKS) * self._size)
        block = self.block(index)
        _COUNT.pack_into(self._front, 0, index + 1)
        return block

    def block(self, index: int) -> memoryview:
        """A block that there is."""
        length = _BLOCKS * self._size
        while len(self._regions) <= index // _BLOCKS:
            made = mmap.mmap(self.descriptor, length, offset=_PAGE + len(self._regions) * length)
            self._regions.append(made)
        place = index % _BLOCKS * self._size
        return memoryview(self._regions[index // _BLOCKS])[place : place + self._size]

    def close(self) -> None:
        """Let go of the descriptor; blocks stay readable as long as somebody has them."""
        os.close(self.descriptor)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("meshbdd-load", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # where the system has no such memory: a file without a name
        return os.dup(file.fileno())
