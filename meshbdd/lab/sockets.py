"""Where processes listen: asked of the kernel by ``sock_diag``, which knows listening sockets apart.

``/proc/net/tcp`` tells the same, but it lists every connection of the machine: with thousands of them one reading takes
longer than a pod needs to start. It is the fallback for kernels without ``sock_diag``.
https://man7.org/linux/man-pages/man7/sock_diag.7.html
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Place = tuple[str, int]
"""Address and port."""

_SOCK_DIAG, _BY_FAMILY, _DONE, _ERROR = 4, 20, 3, 2
_REQUEST_DUMP = 0x301
_LISTEN = 10
_HEADER = struct.Struct("=IHHII")


def listening_addresses(group: int, *, max_age: float = 0.0) -> set[Place]:
    """Where the processes of a session listen for TCP; an IPv4 address in an IPv6 socket counts as IPv4.

    Args:
        group: The session's id.
        max_age: Seconds that the answer may be old; many questions at once are answered from one look.
    """
    if time.monotonic() - _View.last.taken > max_age:
        _View.last = _View.look()
    inodes = {inode for pid in _View.last.sessions.get(group, ()) for inode in _sockets(pid)}
    return {place for inode, place in _View.last.listeners if inode in inodes} if inodes else set()


@dataclass(frozen=True, slots=True)
class _Look:
    taken: float = -1e9
    sessions: dict[int, list[int]] = field(default_factory=dict)
    listeners: tuple[tuple[int, Place], ...] = ()


class _View:
    """The last look at the machine."""

    last = _Look()

    @staticmethod
    def look() -> _Look:
        taken = time.monotonic()
        try:
            listeners = tuple(_from_kernel(socket.AF_INET)) + tuple(_from_kernel(socket.AF_INET6))
        except OSError:
            listeners = tuple(_from_proc())
        return _Look(taken, _sessions(), listeners)


def _sessions() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - Path objects cost more than the reading here
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
                session = int(file.read().rpartition(")")[2].split()[3])
        except (OSError, IndexError, ValueError):
            continue  # the process ended while we looked
        found.setdefault(session, []).append(int(name))
    return found


def _sockets(pid: int) -> Iterator[int]:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):  # noqa: PTH208
            target = os.readlink(f"{folder}/{name}")  # noqa: PTH115
            if target.startswith("socket:["):
                yield int(target[8:-1])
    except OSError:
        return  # the process ended while we looked


def _from_kernel(family: int) -> Iterator[tuple[int, Place]]:
    """Inode and place of every listening TCP socket of an address family.

    Raises:
        OSError: this kernel has no ``sock_diag``.
    """
    query = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as link:
        link.settimeout(2)
        link.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + query)
        while True:
            data = link.recv(1 << 18)
            while data:
                length, kind, *_ = _HEADER.unpack_from(data)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("the kernel refuses sock_diag")
                yield _entry(data[_HEADER.size : length])
                data = data[(length + 3) & ~3 :]


def _entry(message: bytes) -> tuple[int, Place]:
    # struct inet_diag_msg: family, state, timer, retransmits; ports, addresses, interface, cookie; five numbers.
    family = message[0]
    (port,) = struct.unpack_from(">H", message, 4)
    (inode,) = struct.unpack_from("=I", message, 68)
    raw = message[8 : 8 + (4 if family == socket.AF_INET else 16)]
    return inode, (_text(raw), port)


def _from_proc() -> Iterator[tuple[int, Place]]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[3], 16) != _LISTEN:
                continue
            address, _, port = fields[1].partition(":")
            raw = bytes.fromhex(address)
            words = [raw[i : i + 4][::-1] for i in range(0, len(raw), 4)]
            yield int(fields[9]), (_text(b"".join(words)), int(port, 16))


def _text(raw: bytes) -> str:
    mapped = raw[:12] == b"\0" * 10 + b"\xff\xff"
    raw = raw[12:] if mapped else raw
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
