"""The engine: libcurl's multi interface, one thread, every request written down."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

import pycurl

from meshbdd.load.answer import STOPPED, Outcome, body_length, failure_word, read_answer
from meshbdd.load.descriptors import allow_descriptors
from meshbdd.load.driving import Driver, Sweeping, Watching
from meshbdd.load.ids import RequestIds
from meshbdd.load.lapses import LONGEST_WAIT, Lapse, Lapses, excused
from meshbdd.load.message import GRPC_PREFIX
from meshbdd.load.plan import MOST_USERS, Plan
from meshbdd.load.record import Record
from meshbdd.load.transfer import Transfer

_CACHED_ANSWERS = 4096
_FEW_USERS = 128


class Engine:
    """Carries a plan out in the thread that calls ``run``; everything else may be called from any thread.

    Args:
        plan: What to send.
        ids: Ids of the requests.
        places: Where the host is, as ``resolve`` gives it.
        schedule: When the requests of an open loop start, in nanoseconds since the load began.
        record: Where to write them down.

    Raises:
        EnvironmentBroken: this machine cannot have so many connections.
    """

    def __init__(
        self, plan: Plan, ids: RequestIds, places: Sequence[str], schedule: Iterator[int] | None, record: Record
    ) -> None:
        allow_descriptors(plan.connections if schedule is not None else plan.users)
        self.plan = plan
        self.record = record
        self.sent = 0
        self.unsent = 0
        """Requests that were due, but not within their timeout could a connection be had for them."""
        self.overdue = 0
        """Requests that were due, and not started when the load was stopped at once."""
        self.missed = 0
        """Requests that were due, and not started because this machine was late."""
        self.crowded = False
        """Whether a request that was due had to wait because all connections were under way, by no doing of this machine."""
        self.lapses: list[Lapse] = []
        """When this machine was late, as far as it is over."""
        self.began_unix = 0.0
        self.began = 0
        self.ended = 0
        """``time.perf_counter_ns`` at the end; 0 while it runs."""
        self._ids = ids
        self._places = places
        self._schedule = schedule
        self._stopped = 0  # when nothing more was wanted, ``time.perf_counter_ns``; 0: not yet
        self._at_once = False
        self._under_way = 0
        self._transfers: dict[pycurl.Curl, Transfer] = {}
        self._free: list[Transfer] = []
        self._cache: dict[bytes | tuple[bytes, bytes], tuple[int, bool, int | None]] = {}
        self._grpc = plan.grpc
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, MOST_USERS)  # libcurl's own limit would close some after use
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)  # a user has a connection of its own
        few = plan.pace is None and plan.users <= _FEW_USERS
        self._driver: Driver = Sweeping(self._multi) if few else Watching(self._multi)

    def stop(self, *, at_once: bool = False) -> None:
        """Want no more requests.

        In an open loop those that were due before are started late, as they are at the end of a duration: they waited
        for a service that was too slow, and leaving them out would hide it (coordinated omission).

        Args:
            at_once: Wait for nothing: start none, and let those under way go.
        """
        self._stopped = self._stopped or time.perf_counter_ns()
        self._at_once = self._at_once or at_once
        if not self.ended:
            self._driver.wake()

    def run(self, began: int | None = None) -> None:
        """Send until the plan is fulfilled or ``stop`` is called.

        Args:
            began: When the load begins, ``time.perf_counter_ns``, which all processes of a machine read from one clock;
                ``None``: now.
        """
        self.began = began or time.perf_counter_ns()
        self.began_unix = time.time() + (self.began - time.perf_counter_ns()) / 1e9
        self._lapses = Lapses(self.began)
        self.lapses = self._lapses.found
        try:
            if self._schedule is not None:
                self._run_open(self._schedule)
            else:
                self._run_closed()
        finally:
            self._close()

    def _run_closed(self) -> None:
        plan = self.plan
        until = None if plan.duration is None else self.began + round(plan.duration.seconds * 1e9)
        for _ in range(plan.users if plan.count is None else min(plan.users, plan.count)):
            self._free.append(self._transfer())
        while not self._at_once:
            # Nobody is kept waiting here: a user who is free sends at once.
            self._lapses.turned(time.perf_counter_ns(), 0, self._under_way)
            while self._free and self._may_start(now := time.perf_counter_ns(), until):
                self._start(self._free.pop(), now, now)
            if not self._under_way:
                break
            left = LONGEST_WAIT if until is None else (until - time.perf_counter_ns()) / 1e9
            self._turn(left if left > 0 else LONGEST_WAIT)

    def _may_start(self, now: int, until: int | None) -> bool:
        return (
            not self._stopped
            and (self.plan.count is None or self.sent < self.plan.count)
            and (until is None or now < until)
        )

    def _run_open(self, schedule: Iterator[int]) -> None:
        plan, patience = self.plan, round(self.plan.timeout.seconds * 1e9)
        end = None if plan.duration is None else round(plan.duration.seconds * 1e9)
        wanted = itertools.takewhile(lambda due: end is None or due < end, itertools.islice(schedule, plan.count))
        due = next(wanted, None)
        lapses = self._lapses
        while not self._at_once:
            now = time.perf_counter_ns()
            lapses.turned(now, 0 if due is None else now - self.began - due, self._under_way)
            while due is not None and self._goes_on() and self._wants(due) and (late := now - self.began - due) >= 0:
                if late > patience:
                    self._leave_out(lapses, now, due)
                elif (transfer := self._take()) is not None:
                    now = time.perf_counter_ns()
                    self._start(transfer, now, self.began + due)
                else:
                    self.crowded = self.crowded or not lapses.lasting
                    break
                due = next(wanted, None)
            if due is not None and not self._wants(due):
                due = None
            if due is None and not self._under_way and self._has_lasted(now, end):
                break
            if due is None or not self._can_take():
                self._turn(LONGEST_WAIT)
            else:
                self._turn((self.began + due - time.perf_counter_ns()) / 1e9)
        now = time.perf_counter_ns()
        while due is not None and self._wants(due):
            self._leave_out(lapses, now, due)
            due = next(wanted, None)

    def _has_lasted(self, now: int, end: int | None) -> bool:
        """Whether no more requests are to come: a load lasts as long as it was asked to, not until its last request."""
        all_sent = self.plan.count is not None and self.sent + self.unsent + self.missed >= self.plan.count
        return end is None or all_sent or self._stopped > 0 or now >= self.began + end

    def _leave_out(self, lapses: Lapses, now: int, due: int) -> None:
        """Count a request that is never started: because of this machine, or else of what has all connections."""
        when = self.began + due
        if excused(lapses.own_since(when), now - when):
            self.missed += 1
        elif not self._at_once:
            self.unsent += 1
        elif not self._can_take():
            self.overdue += 1

    def _goes_on(self) -> bool:
        """Whether it was not ended at once, however many requests were due."""
        return not self._at_once

    def _wants(self, due: int) -> bool:
        """Whether a request of the schedule was due before the load was stopped, if it was."""
        return not self._stopped or self.began + due <= self._stopped

    def _transfer(self) -> Transfer:
        made = Transfer(self.plan, self._ids, self._driver, self._places)
        self._transfers[made.curl] = made
        return made

    def _can_take(self) -> bool:
        return bool(self._free) or len(self._transfers) < self.plan.connections

    def _take(self) -> Transfer | None:
        """A handle that is free: the one used last, so that few connections stay busy; ``None``: all are under way."""
        if self._free:
            return self._free.pop()
        return self._transfer() if self._can_take() else None

    def _start(self, transfer: Transfer, now: int, due: int) -> None:
        transfer.begin(self.sent, now, due)
        self.sent += 1
        self._under_way += 1
        self._multi.add_handle(transfer.curl)

    def _turn(self, seconds: float) -> None:
        """Let libcurl work: start what was added, end what took too long, and go on where sockets are ready.

        Args:
            seconds: How long to wait at most for a socket, if that is less than the loop lets itself be put to sleep.
        """
        self._driver.advance()
        if self._harvest():
            return
        timer = self._multi.timeout()
        wait = min(seconds, LONGEST_WAIT) if timer < 0 else min(seconds, LONGEST_WAIT, timer / 1000)
        wait = max(wait, 0.0)
        self._driver.wait(wait)
        self._lapses.slept(self._driver.slept, wait)
        self._harvest()

    def _harvest(self) -> int:
        """Write down what has finished; says how many."""
        found = 0
        while True:
            left, answered, failed = self._multi.info_read()
            now = time.perf_counter_ns()
            for curl in answered:
                transfer = self._transfers[curl]
                head, body = b"".join(transfer.lines), self._body(transfer)
                self._finish(transfer, self._read(head, body), head, body, now)
            for curl, code, reason in failed:
                transfer = self._transfers[curl]
                word = failure_word(code, curl.getinfo(pycurl.OS_ERRNO))
                self.record.reasons.setdefault(word, reason)
                outcome = self.record.outcome_number(Outcome(None, word)), False, None
                self._finish(transfer, outcome, b"".join(transfer.lines), b"".join(transfer.chunks), now)
            found += len(answered) + len(failed)
            if not left:
                return found

    def _body(self, transfer: Transfer) -> bytes:
        body = b"".join(transfer.chunks)
        return body[GRPC_PREFIX:] if self._grpc else body

    def _read(self, head: bytes, body: bytes) -> tuple[int, bool, int | None]:
        """An answer's outcome as ``_finish`` takes it; answers that look alike are read once."""
        key = (head, body) if self.plan.fields else head
        known = self._cache.get(key)
        if known is None:
            outcome = read_answer(head, body, self.plan.headers, self.plan.fields)
            if len(self._cache) >= _CACHED_ANSWERS:
                self._cache.clear()
            size = body_length(head) if self.plan.message.method != "HEAD" else 0
            known = self._cache[key] = self.record.outcome_number(outcome), outcome.succeeded, size
        return known

    def _finish(
        self, transfer: Transfer, outcome: tuple[int, bool, int | None], head: bytes, body: bytes, now: int
    ) -> None:
        """Write a request down.

        Args:
            transfer: It.
            outcome: Number of its outcome, whether that is a success, and the body's length where its head tells it.
            head: Head of the answer as far as it came.
            body: Body of the answer as far as it came.
            now: When its end was seen.
        """
        curl, began, record = transfer.curl, transfer.began, self.record
        first_byte, total = curl.getinfo(pycurl.STARTTRANSFER_TIME_T), curl.getinfo(pycurl.TOTAL_TIME_T)
        if self._schedule is not None:
            # From the moment it was handed to libcurl, not from the moment that libcurl took it up.
            whole = (now - began) // 1000
            first_byte, total = (first_byte and whole - (total - first_byte)), whole
        number, good, size = outcome
        if size is None:
            size = curl.getinfo(pycurl.SIZE_DOWNLOAD_T)
        lag = (began - transfer.due) // 1000
        record.write(transfer.number, (began - self.began) // 1000, lag, first_byte, total, size, number)
        record.finished += 1
        if not good:
            record.failed += 1
        record.keep(transfer.number, head, body, good=good)
        self._multi.remove_handle(curl)
        self._under_way -= 1
        self._free.append(transfer)
        transfer.active = False

    def _close(self) -> None:
        """Write down what is still under way, and give everything back."""
        stopped = self.record.outcome_number(Outcome(None, STOPPED)) if self._under_way else 0
        now = time.perf_counter_ns()
        for transfer in self._transfers.values():
            if transfer.active:
                self._multi.remove_handle(transfer.curl)
                start, lag = (transfer.began - self.began) // 1000, (transfer.began - transfer.due) // 1000
                self.record.write(transfer.number, start, lag, 0, (now - transfer.began) // 1000, 0, stopped)
                self.record.stopped += 1
        self._lapses.close(now)
        self._multi.close()
        for transfer in self._transfers.values():
            transfer.curl.close()
        self.ended = time.perf_counter_ns()
        self._driver.close()
