"""Where processes listen, as the kernel tells it in two ways."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from meshbdd.lab import sockets


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, address = request.param
    try:
        made = socket.socket(family)
        made.bind((address, 0))
    except OSError:
        pytest.skip("this machine has no such address")
    made.listen()
    yield made
    made.close()


def test_a_listening_socket_is_found_by_its_session(listener: socket.socket) -> None:
    address, port = listener.getsockname()[:2]
    assert (address, port) in sockets.listening_addresses(os.getsid(0))
    assert (address, port) not in sockets.listening_addresses(2**22 + 1)


def test_both_ways_tell_the_same(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    kernel = [
        e for family in (socket.AF_INET, socket.AF_INET6) for e in sockets._from_kernel(family) if e[1][1] == port
    ]
    assert kernel == [entry for entry in sockets._from_proc() if entry[1][1] == port]
    assert kernel


def test_an_older_look_may_do(listener: socket.socket) -> None:
    place, session = listener.getsockname()[:2], os.getsid(0)
    assert place in sockets.listening_addresses(session)
    listener.close()
    assert place not in sockets.listening_addresses(session, max_age=60), "its socket is gone from the process"


def test_a_fresh_look_sees_what_was_opened_since() -> None:
    session = os.getsid(0)
    sockets.listening_addresses(session)
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        assert made.getsockname() not in sockets.listening_addresses(session, max_age=60)
        assert made.getsockname() in sockets.listening_addresses(session)
