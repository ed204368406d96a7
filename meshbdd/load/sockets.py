"""The sockets of a libcurl multi handle, watched by epoll."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator

import pycurl

_EPOLL = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_RESTING = 1 << 30
_FINE_SECONDS = 0.02


class Sockets:
    """Which sockets libcurl wants watched.

    Between two requests libcurl lets a connection rest, and takes its socket back from the watch for the moment. It
    stays registered here, which saves two system calls a request. A resting socket that has something to say is left to
    libcurl, which looks at a connection before it uses it again. A connection that is closed leaves epoll by itself, and
    ``opened`` tells when its number is taken by another one.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}
        self._rest = True
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._open = threading.Lock()
        self._closed = False

    def watch(self, what: int, number: int, _multi: object, _data: object) -> None:
        """The socket callback of libcurl (CURLMOPT_SOCKETFUNCTION)."""
        known = self._watched.get(number)
        if what != pycurl.POLL_REMOVE:
            wanted = _EPOLL[what]
            if known is None:
                self._epoll.register(number, wanted)
            elif known & ~_RESTING != wanted:
                self._epoll.modify(number, wanted)
            self._watched[number] = wanted
        elif known is not None:
            if self._rest:
                self._watched[number] = known | _RESTING
            else:
                self._forget(number)

    def opened(self, number: int, _purpose: int) -> int:
        """The callback of libcurl for a new connection (CURLOPT_SOCKOPTFUNCTION)."""
        self._watched.pop(number, None)
        return 0

    def rest_no_more(self) -> None:
        """From now on libcurl may open sockets of other kinds, to look up names, of which ``opened`` tells nothing."""
        self._rest = False
        for number in [number for number, events in self._watched.items() if events & _RESTING]:
            self._forget(number)

    def _forget(self, number: int) -> None:
        del self._watched[number]
        with contextlib.suppress(OSError):  # it was closed meanwhile
            self._epoll.unregister(number)

    def ready(self, seconds: float) -> Iterator[tuple[int, int]]:
        """Wait for sockets; gives each with libcurl's bits for what it is ready for.

        Args:
            seconds: How long to wait at most; epoll itself would round it up to a whole millisecond.
        """
        if 0 < seconds < _FINE_SECONDS:
            select.select([self._epoll.fileno()], [], [], seconds)
            seconds = 0
        for number, events in self._epoll.poll(seconds):
            if number == self._wake:
                os.eventfd_read(number)
            elif self._watched.get(number, _RESTING) & _RESTING:
                if number in self._watched:
                    self._forget(number)
            else:
                bits = pycurl.CSELECT_IN if events & select.EPOLLIN else 0
                if events & select.EPOLLOUT:
                    bits |= pycurl.CSELECT_OUT
                if events & (select.EPOLLERR | select.EPOLLHUP):
                    bits |= pycurl.CSELECT_ERR
                yield number, bits

    def wake(self) -> None:
        """End a wait, from any thread; nothing happens once they are closed."""
        with (
            self._open
        ):  # else the load could end, and its descriptor's number belong to somebody else, just before this
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the descriptors back."""
        with self._open:
            self._closed = True
            self._epoll.close()
            os.close(self._wake)
