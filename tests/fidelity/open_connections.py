"""Who still holds the old configuration after a change: counted on connections that are open (mesh-semantics §4.1).

The connections are those that the caller's sidecar keeps to the callee's. Each round of requests occupies all of them
at once, so a stale answer for each connection shows as that many stale answers in one round, and none in the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.fidelity.calls import Answer, Send, send
from tests.fidelity.rows import documents
from tests.fidelity.table.faults import vs
from tests.fidelity.table.outliers import GAP, LONG, breaker
from tests.fidelity.table.server_faults import envoy_filter
from tests.fidelity.world import World

CONNECTIONS = 8
_HELD = "400ms"
"""How long each request of a round holds its connection: long enough for all to be under way together."""

FAULT = "delay: {fixed_delay: 0.4s, percentage: {numerator: 100}}\n          abort: {http_status: 503, percentage: {numerator: 100}}"

_ARMED = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: armed, namespace: shop}
spec:
  workloadSelector: {labels: {app: payment-service}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: meshbdd.fault
        config_discovery:
          config_source: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}
          type_urls: [type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault]
  - applyTo: EXTENSION_CONFIG
    match: {context: SIDECAR_INBOUND}
    patch:
      operation: ADD
      value:
        name: meshbdd.fault
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          SETTINGS
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one way of changing the callee did to the open connections.

    Attributes:
        change: How it was changed.
        stale_on: Stale answers after the fault was put in place, among ``CONNECTIONS``.
        stale_off: Stale answers after it was taken away.
        renewed: How many of the connections were other ones afterwards.
        expected: Stale answers that mesh-semantics §4.1 tells of, each time.
    """

    change: str
    stale_on: int
    stale_off: int
    renewed: int
    expected: int

    @property
    def agrees(self) -> bool:
        """Whether it is as measured on proxies outside the lab."""
        return (self.stale_on, self.stale_off) == (self.expected, self.expected)


def _round(world: World) -> list[Answer]:
    return send(world, Send(does=f"200@{_HELD}", times=CONNECTIONS, at_once=CONNECTIONS))


def _connections(answers: Sequence[Answer]) -> set[str]:
    return {entry["downstream_remote_address"] for answer in answers for entry in answer.server}


def _open(world: World) -> set[str]:
    """Open the connections; all of them answer."""
    answers = _round(world)
    assert [a.status for a in answers] == [200] * CONNECTIONS, [a.status for a in answers]
    found = _connections(answers)
    assert len(found) == CONNECTIONS, f"{len(found)} connections for {CONNECTIONS} requests at once"
    return found


def _stale(world: World, right: int) -> tuple[int, set[str]]:
    """Stale answers of a round; the round after it must have none."""
    first, second = _round(world), _round(world)
    assert [a.status for a in second] == [right] * CONNECTIONS, [a.status for a in second]
    return sum(a.status != right for a in first), _connections(first)


EXPECTED = {
    "route of the caller (RDS)": 0,
    "listener of the callee": CONNECTIONS,
    "listener of the callee, then an epoch": 0,
    "settings of an armed filter (ECDS)": 0,
}
"""Way of changing → stale answers on ``CONNECTIONS`` open connections, as measured on proxies outside the lab."""


def _find(world: World, change: str, put: Callable[[], None], take: Callable[[], None]) -> Finding:
    before = _open(world)
    put()
    stale_on, during = _stale(world, 503)
    take()
    stale_off, _ = _stale(world, 200)
    return Finding(change, stale_on, stale_off, len(during - before), EXPECTED[change])


def route_change(world: World) -> Finding:
    """The fault is a route's, at the caller."""
    fault = "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}"
    return _find(world, "route of the caller (RDS)", lambda: world.apply(documents(vs(fault))), world.clean)


def listener_change(world: World) -> Finding:
    """The fault filter comes by a change of the callee's listener."""
    resources = documents(envoy_filter(FAULT))
    return _find(world, "listener of the callee", lambda: world.apply(resources), world.clean)


def listener_change_and_epoch(world: World) -> Finding:
    """The same, and then the callers' cluster is changed: an epoch."""
    resources = documents(envoy_filter(FAULT))
    return _find(
        world, "listener of the callee, then an epoch",
        lambda: world.apply(resources, renew=True), lambda: world.clean(renew=True),
    )  # fmt: skip


def extension_switch(world: World) -> Finding:
    """The filter is armed beforehand; its settings alone are switched."""

    def switch(settings: str) -> None:
        world.replace(documents(_ARMED.replace("SETTINGS", settings))[0])
        world.settle()

    world.apply(documents(_ARMED.replace("SETTINGS", "")), renew=True)
    try:
        return _find(world, "settings of an armed filter (ECDS)", lambda: switch(FAULT), lambda: switch(""))
    finally:
        world.clean(renew=True)


def failed_during_epochs(world: World, epochs: int = 10) -> tuple[int, int]:
    """Requests that failed, of how many, while the callers' clusters are changed again and again."""

    stop, answers = threading.Event(), []

    def load() -> None:
        while not stop.is_set():
            answers.extend(send(world, Send(times=40, at_once=4, does="200@5ms")))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(epochs):
            world.settle(renew=True)
    finally:
        stop.set()
        thread.join()
    return sum(a.status != 200 for a in answers), len(answers)


def epoch_closes_the_breaker(world: World) -> tuple[str, int]:
    """The flag before an epoch, with the only endpoint ejected for 30 s, and the status right after it."""
    world.apply(documents(breaker(LONG)))
    try:
        send(world, Send(does="503", times=4, every=GAP))
        before = send(world, Send())[0].flags
        world.settle(renew=True)
        return before, send(world, Send())[0].status
    finally:
        world.clean()


FINDINGS: tuple[Callable[[World], Finding], ...] = (
    route_change, listener_change, listener_change_and_epoch, extension_switch,
)  # fmt: skip
