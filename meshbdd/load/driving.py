"""Two ways to let libcurl's multi handle work: by the socket, or by a sweep over all transfers.

By the socket, libcurl says which sockets it wants watched and is told which are ready (its "socket action" interface);
the work for an answer does not grow with the number of requests under way. A sweep looks at every transfer, which is
cheaper by a fifth as long as these are few and most of them have something to do, as in a closed loop of few users.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Protocol

import pycurl

_EPOLL = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_RESTING = 1 << 30
_FINE_SECONDS = 0.02
_LOOKUP_SECONDS = 0.01
_FD_SETSIZE = 1024
"""Descriptors from this number on cannot be waited for with ``select``, which alone takes less than a millisecond."""


class Driver(Protocol):
    """Lets a multi handle work.

    Attributes:
        slept: Nanoseconds for which nothing was ready in the last wait, or longer if nobody woke it up in time.
    """

    slept: int

    def opened(self, number: int, purpose: int) -> int:
        """The callback of libcurl for a new connection (CURLOPT_SOCKOPTFUNCTION)."""
        ...

    def other_sockets(self) -> None:
        """From now on libcurl may open sockets of which ``opened`` tells nothing, to look up names."""
        ...

    def advance(self) -> None:
        """Start what was added, and end what took too long."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait for a socket that is ready, and go on there."""
        ...

    def wake(self) -> None:
        """End a wait; from any thread."""
        ...

    def close(self) -> None:
        """Give the descriptors back."""
        ...


class _Epoll:
    """Epoll with a way to wake it up."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._selectable = self.epoll.fileno() < _FD_SETSIZE
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.epoll.register(self._wake, select.EPOLLIN)
        self._open = threading.Lock()
        self._closed = False
        self.slept = 0

    def ready(self, seconds: float) -> list[tuple[int, int]]:
        """Sockets that are ready within ``seconds``; epoll itself would round that up to a whole millisecond."""
        began = time.perf_counter_ns()
        if 0 < seconds < _FINE_SECONDS and self._selectable:
            select.select([self.epoll.fileno()], [], [], seconds)
            seconds = 0
        found = self.epoll.poll(seconds)
        self.slept = time.perf_counter_ns() - began
        if any(number == self._wake for number, _ in found):
            os.eventfd_read(self._wake)
            found = [(number, events) for number, events in found if number != self._wake]
        return found

    def wake(self) -> None:
        """See ``Driver``; nothing happens once it is closed."""
        with self._open:  # else the load could end just before, and its descriptor's number belong to somebody else
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """See ``Driver``."""
        with self._open:
            self._closed = True
            self.epoll.close()
            os.close(self._wake)


class Sweeping(_Epoll):
    """Looks at every transfer whenever any socket is ready.

    Sockets are watched for changes only (edge-triggered), from when they are opened until they are closed, so libcurl
    need not tell of them between two requests.
    """

    def __init__(self, multi: pycurl.CurlMulti) -> None:
        super().__init__()
        self._multi = multi
        self._longest = float("inf")

    def opened(self, number: int, _purpose: int) -> int:
        """See ``Driver``."""
        self.epoll.register(number, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        return 0

    def other_sockets(self) -> None:
        """See ``Driver``: they cannot be watched, so libcurl is asked often."""
        self._longest = _LOOKUP_SECONDS

    def advance(self) -> None:
        """See ``Driver``."""
        self._multi.perform()

    def wait(self, seconds: float) -> None:
        """See ``Driver``."""
        self.ready(min(seconds, self._longest))
        self._multi.perform()


class Watching(_Epoll):
    """Goes on only where a socket is ready.

    Between two requests libcurl lets a connection rest, and takes its socket back from the watch for the moment. It
    stays registered here, which saves two system calls a request. A resting socket that has something to say is left to
    libcurl, which looks at a connection before it uses it again. A connection that is closed leaves epoll by itself, and
    ``opened`` tells when its number is taken by another one.
    """

    def __init__(self, multi: pycurl.CurlMulti) -> None:
        super().__init__()
        self._watched: dict[int, int] = {}
        self._rest = True
        self._act = multi.socket_action
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)

    def _watch(self, what: int, number: int, _multi: object, _data: object) -> None:
        """The socket callback of libcurl (CURLMOPT_SOCKETFUNCTION)."""
        known = self._watched.get(number)
        if what != pycurl.POLL_REMOVE:
            wanted = _EPOLL[what]
            if known is None:
                self.epoll.register(number, wanted)
            elif known & ~_RESTING != wanted:
                self.epoll.modify(number, wanted)
            self._watched[number] = wanted
        elif known is not None:
            if self._rest:
                self._watched[number] = known | _RESTING
            else:
                self._forget(number)

    def opened(self, number: int, _purpose: int) -> int:
        """See ``Driver``."""
        self._watched.pop(number, None)
        return 0

    def other_sockets(self) -> None:
        """See ``Driver``."""
        self._rest = False
        for number in [number for number, events in self._watched.items() if events & _RESTING]:
            self._forget(number)

    def _forget(self, number: int) -> None:
        del self._watched[number]
        with contextlib.suppress(OSError):  # it was closed meanwhile
            self.epoll.unregister(number)

    def advance(self) -> None:
        """See ``Driver``."""
        self._act(pycurl.SOCKET_TIMEOUT, 0)

    def wait(self, seconds: float) -> None:
        """See ``Driver``."""
        for number, events in self.ready(seconds):
            if self._watched.get(number, _RESTING) & _RESTING:
                if number in self._watched:
                    self._forget(number)
                continue
            bits = pycurl.CSELECT_IN if events & select.EPOLLIN else 0
            if events & select.EPOLLOUT:
                bits |= pycurl.CSELECT_OUT
            if events & (select.EPOLLERR | select.EPOLLHUP):
                bits |= pycurl.CSELECT_ERR
            self._act(number, bits)
