"""Sending a row's requests, and everything that can be known of what became of each."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.fidelity.world import CALLER, World
from tests.tools import until

CALLEE_SECONDS, QUIET_SECONDS = 1.0, 0.15
"""How long the callees' access logs are waited for; a claim that needs them fails if they do not come."""


@dataclass(frozen=True, slots=True)
class Send:
    """Requests to be sent.

    Attributes:
        url: Where to, as the caller writes it.
        by: Which pod calls.
        does: What the application does with each attempt (see ``backend``).
        times: How many requests.
        at_once: How many at the same time.
        every: Seconds from one request to the next; 0 for as fast as answers come.
        patience: Seconds after which the caller goes away.
        keep: Whether one connection carries them all.
    """

    url: str = "http://payment-service/"
    by: str = CALLER
    does: str = ""
    times: int = 1
    at_once: int = 1
    every: float = 0.0
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    patience: float = 5.0
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    Attributes:
        status: HTTP status; 0 for a connection that ended without an answer.
        began: Seconds since the first request of its kind.
        seconds: How long it took.
        records: What applications received under its id, each attempt and each copy.
        entry: The entry of the calling sidecar's access log; ``None`` for a caller without one.
        server: The entries of the called sidecars' access logs.
    """

    request_id: str
    status: int
    body: str
    headers: Mapping[str, str]
    began: float
    seconds: float
    records: tuple[dict[str, Any], ...] = ()
    entry: dict[str, Any] | None = None
    server: tuple[dict[str, Any], ...] = ()

    @property
    def flags(self) -> str:
        """The response flags that the caller's sidecar gave it."""
        return str(self.entry["response_flags"]) if self.entry else ""


class _Caller:
    """One client: it keeps its connection or opens one for each request."""

    def __init__(self, world: World, send: Send, began: float) -> None:
        self._address = world.address(send.by)
        self._send = send
        self._began = began
        self._connection: http.client.HTTPConnection | None = None

    def call(self) -> Answer:
        if self._connection is None or not self._send.keep:
            self.close()
            self._connection = http.client.HTTPConnection(*self._address, timeout=self._send.patience)
        send, request_id = self._send, str(uuid.uuid4())
        began = time.perf_counter()
        try:
            self._connection.putrequest(send.method, send.url, skip_host=True, skip_accept_encoding=True)
            headers = {"host": urlsplit(send.url).netloc, "x-request-id": request_id, **send.headers}
            if send.does:
                headers.setdefault("x-do", send.does)
            for name, value in headers.items():
                self._connection.putheader(name, value)
            self._connection.endheaders()
            answer = self._connection.getresponse()
            body = answer.read().decode(errors="replace")
            got = {name.lower(): value for name, value in answer.getheaders()}
            status = answer.status
        except (OSError, http.client.HTTPException):
            status, body, got = 0, "", {}
            self.close()
        return Answer(request_id, status, body, got, began - self._began, time.perf_counter() - began)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def send(world: World, what: Send) -> list[Answer]:
    """Send, and gather what sidecars and applications know of it."""
    world.collect()  # what came before is read, so that this step's part is small
    answers = list(_sent(world, what))
    if what.by in world.logs:
        log = world.logs[what.by]
        until("the access log of the caller", lambda: all(log.of(a.request_id) for a in answers))
    world.collect()
    _await_callees(world, what, answers)
    return [_known(world, what, answer) for answer in answers]


def _await_callees(world: World, what: Send, answers: list[Answer]) -> None:
    """Let the callees' sidecars write down what came to them; they flush every 20 ms."""

    def missing() -> bool:
        """Whether a request that reached an application is not in the log of its sidecar yet."""
        return any(
            len(_callee_entries(world, what, answer)) < len(world.received(answer.request_id)) for answer in answers
        )

    log = world.logs.get(what.by)
    # A request that ended at the callee's sidecar, by a fault or a policy: only quiet tells that all of it was written.
    unseen = [
        a for a in answers if log and log.of(a.request_id)[-1]["upstream_host"] and not world.received(a.request_id)
    ]
    deadline = time.monotonic() + CALLEE_SECONDS
    quiet_since, seen = time.monotonic(), 0
    while (now := time.monotonic()) < deadline and (missing() or (unseen and now - quiet_since < QUIET_SECONDS)):
        time.sleep(0.01)
        count = sum(len(_callee_entries(world, what, answer)) for answer in unseen)
        if count != seen:
            quiet_since, seen = now, count


def _callee_entries(world: World, what: Send, answer: Answer) -> tuple[dict[str, Any], ...]:
    return tuple(e for name, log in world.logs.items() if name != what.by for e in log.of(answer.request_id))


def _sent(world: World, what: Send) -> Iterator[Answer]:
    began = time.perf_counter()
    made: list[list[Answer]] = [[] for _ in range(what.at_once)]
    numbers, lock = itertools.count(), threading.Lock()

    def work(into: list[Answer]) -> None:
        caller = _Caller(world, what, began)
        while True:
            with lock:
                number = next(numbers)
            if number >= what.times:
                break
            pause = began + number * what.every - time.perf_counter()
            if what.every and pause > 0:
                time.sleep(pause)
            into.append(caller.call())
        caller.close()

    threads = [threading.Thread(target=work, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return iter(sorted(itertools.chain(*made), key=lambda answer: answer.began))


def _known(world: World, what: Send, answer: Answer) -> Answer:
    log = world.logs.get(what.by)
    entry = log.of(answer.request_id)[-1] if log else None
    server = _callee_entries(world, what, answer)
    records = tuple(world.received(answer.request_id))
    return Answer(
        answer.request_id, answer.status, answer.body, answer.headers, answer.began, answer.seconds,
        records, entry, server,
    )  # fmt: skip
