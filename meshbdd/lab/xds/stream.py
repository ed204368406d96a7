"""One sidecar's ADS stream: what Envoy asked for, what it has, and the order in which changes reach it.

Make before break: clusters and their endpoints first, then extensions, listeners and routes, removals last; each step
waits for Envoy's answer. Endpoints are sent again with every changed cluster: Envoy keeps a changed EDS cluster warming
until they come (15 s otherwise; the old cluster serves meanwhile).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from meshbdd.lab.xds.resources import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET, Snapshot

ANSWER_SECONDS = 5.0
"""How long one step of a push waits for Envoy's answer before it goes on; Envoy answers within milliseconds."""

Rejection = Callable[[str, str, str], None]


@dataclass(slots=True)
class _Interest:
    """What Envoy subscribed to of one type, and which versions it has been sent."""

    names: set[str] = field(default_factory=set)
    everything: bool = False
    sent: dict[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        return self.everything or name in self.names


class Stream:
    """The lab's side of one Envoy's ADS stream.

    Args:
        node: Envoy's node id.
        rejected: Called with node, type URL and Envoy's sentence for each NACK.
    """

    def __init__(self, node: str, rejected: Rejection) -> None:
        self.node = node
        self._rejected = rejected
        self._interests: dict[str, _Interest] = {}
        self._out: asyncio.Queue[Any] = asyncio.Queue()
        self._nonces = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._subscribed = asyncio.Event()
        self._changed = asyncio.Event()
        self._snapshot: Snapshot | None = None
        self._pushed: Snapshot | None = None
        """The snapshot that the current push, or the last one, is about: a push never mixes two."""
        self.synced = asyncio.Event()

    @property
    def responses(self) -> asyncio.Queue[Any]:
        """Messages to be written to Envoy, in order."""
        return self._out

    def set(self, snapshot: Snapshot) -> None:
        """Make ``snapshot`` what this Envoy should have."""
        self._snapshot = snapshot
        self.synced.clear()
        self._changed.set()

    def receive(self, request: Any) -> None:
        """Take one DeltaDiscoveryRequest: an answer to what was sent, or a new interest."""
        interest = self._interests.setdefault(request.type_url, _Interest())
        if not interest.names and not interest.everything and request.type_url in {CLUSTER, LISTENER}:
            interest.everything = True
            self._changed.set()
        for name, version in request.initial_resource_versions.items():
            interest.sent[name] = version
        if request.response_nonce:
            answer = self._waiting.pop(request.response_nonce, None)
            failed = bool(request.HasField("error_detail"))
            if failed:
                self._rejected(self.node, request.type_url, request.error_detail.message)
            if answer and not answer.done():
                answer.set_result(not failed)
        interest.names.difference_update(request.resource_names_unsubscribe)
        for name in request.resource_names_unsubscribe:
            interest.sent.pop(name, None)
        new = [name for name in request.resource_names_subscribe if name != "*"]
        if new:
            interest.names.update(new)
            # Envoy subscribes anew to what it lost or warms: answer at once, whatever was sent before.
            self._send(request.type_url, new)
            self._subscribed.set()

    def _send(self, type_url: str, names: Iterable[str], removed: Iterable[str] = ()) -> asyncio.Future[bool] | None:
        if self._pushed is None:
            return None
        resources = self._pushed.of(type_url)
        interest = self._interests.setdefault(type_url, _Interest())
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url, nonce=str(next(self._nonces)))
        gone = list(removed)
        for name in names:
            found = resources.get(name)
            if found is None:
                gone.append(name)
                continue
            response.resources.add(name=name, version=found.version, resource=found.body)
            interest.sent[name] = found.version
        for name in gone:
            interest.sent.pop(name, None)
        response.removed_resources.extend(gone)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[response.nonce] = answer
        self._out.put_nowait(response)
        return answer

    async def _step(self, type_url: str, names: Iterable[str], removed: Iterable[str] = ()) -> None:
        names, removed = list(names), list(removed)
        if not names and not removed:
            return
        answer = self._send(type_url, names, removed)
        if answer is not None:
            await asyncio.wait([answer], timeout=ANSWER_SECONDS)

    def _stale(self, type_url: str) -> list[str]:
        """Names whose version at Envoy is not the wanted one."""
        interest = self._interests.get(type_url)
        if interest is None or self._pushed is None:
            return []
        return [
            name
            for name, resource in self._pushed.of(type_url).items()
            if interest.wants(name) and interest.sent.get(name) != resource.version
        ]

    def _surplus(self, type_url: str) -> list[str]:
        interest = self._interests.get(type_url)
        if interest is None or self._pushed is None:
            return []
        wanted = self._pushed.of(type_url)
        return [name for name in interest.sent if name not in wanted]

    async def _endpoints_of(self, clusters: list[str]) -> None:
        """Send the endpoints of new and changed clusters, and those that changed by themselves."""
        assert self._pushed is not None  # noqa: S101 - set before the first push
        known, wanted = self._pushed.of(ENDPOINTS), self._pushed.of(CLUSTER)
        needed = {wanted[name].endpoints for name in clusters} & known.keys()
        interest = self._interests.setdefault(ENDPOINTS, _Interest())
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        # A new cluster's endpoints are asked for by Envoy itself, and `receive` answers; wait until it has asked.
        while not needed <= interest.names and asyncio.get_running_loop().time() < deadline:
            self._subscribed.clear()
            try:
                await asyncio.wait_for(self._subscribed.wait(), 0.5)
            except TimeoutError:
                break
        await self._step(ENDPOINTS, sorted((needed & interest.names) | set(self._stale(ENDPOINTS))))

    async def _push(self) -> None:
        clusters = self._stale(CLUSTER)
        warm = self._send(CLUSTER, clusters) if clusters else None
        await self._endpoints_of(clusters)
        if warm is not None:
            # Envoy answers for clusters only when none is warming any more (ClusterManagerImpl::updateClusterCounts).
            await asyncio.wait([warm], timeout=ANSWER_SECONDS)
        for type_url in (SECRET, EXTENSION, LISTENER, ROUTES):
            await self._step(type_url, self._stale(type_url))
        await self._step(LISTENER, (), self._surplus(LISTENER))
        await self._step(CLUSTER, (), self._surplus(CLUSTER))

    async def run(self) -> None:
        """Push until cancelled: whenever the wanted snapshot changes, bring Envoy there."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._snapshot is None:
                continue
            self._pushed = self._snapshot
            await self._push()
            if self._pushed is self._snapshot and not self._changed.is_set():
                self.synced.set()
