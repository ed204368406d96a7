"""What the destination service answers: the endpoints of a Service's port, and ServiceProfiles.

linkerd2 controller/api/destination/{endpoint_translator,endpoint_profile_translator,profile_translator}.go,
controller/api/destination/watcher/{endpoints_watcher,workload_watcher,opaque_ports_watcher}.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Any

from meshbdd.lab.go import seconds
from meshbdd.lab.linkerd.objects import TEMPLATE_HASH, Objects, annotations_of, owner_of
from meshbdd.lab.linkerd.read.conditions import request_fault, response_fault
from meshbdd.lab.linkerd.read.outbound import OPAQUE_PORTS
from meshbdd.lab.linkerd.read.pods import numbers_by_name, ports_picked, skipped_ports
from meshbdd.lab.linkerd.settings import ControlPlaneSettings
from meshbdd.lab.linkerd.values import ports

Object = Mapping[str, Any]

CONTROL_PLANE = "linkerd.io/control-plane-ns"
"""The label that makes a pod a meshed one: linkerd2 pkg/k8s/labels.go."""
WHOLE_WEIGHT = 10000
_MOST_RATIO, _SHORTEST, _LONGEST = 1000, Decimal(1), Decimal(60)


class NoProfile(LookupError):
    """A profile that cannot be sent; the proxy goes on without one."""


@dataclass(frozen=True, slots=True)
class Place:
    """One endpoint.

    Attributes:
        identity: Whom its proxy proves to be; ``None`` for a port at which no proxy listens.
        opaque: Whether its bytes are carried as they are.
        control_plane: The namespace of the control plane whose proxy the pod has; empty: none.
        hinted: Whether that proxy listens at the port, so that requests may be carried by HTTP/2.
        owner: The kind and the name of what the pod is of, a Deployment mostly; empty for a pod of its own.
        template_hash: By which the pods of one version of a Deployment are known; empty: it is of none.
    """

    address: str
    port: int
    pod: str
    namespace: str
    service_account: str
    workload: str
    identity: str | None
    opaque: bool = False
    control_plane: str = ""
    hinted: bool = False
    owner: tuple[str, str] | tuple[()] = ()
    template_hash: str = ""

    @property
    def meshed(self) -> bool:
        """Whether its proxy is reached by mutual TLS."""
        return self.identity is not None


@dataclass(frozen=True, slots=True)
class Budget:
    """How many retries a ServiceProfile's routes may cost."""

    ratio: float = 0.2
    per_second: int = 10
    ttl: Decimal = Decimal(10)

    @property
    def usable(self) -> bool:
        """Whether the proxy takes it; else nothing is retried: linkerd2-proxy linkerd/service-profiles/src/proto.rs."""
        return 0 <= self.ratio <= _MOST_RATIO and _SHORTEST <= self.ttl <= _LONGEST


@dataclass(frozen=True, slots=True)
class ProfileRoute:
    """A route of a ServiceProfile; ``condition`` and ``responses`` as written."""

    name: str
    condition: Object
    responses: tuple[Object, ...] = ()
    retryable: bool = False
    timeout: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What a proxy is told of a Service's port beside its policy."""

    service: tuple[str, str] | None
    port: int
    name: str = ""
    namespace: str = ""
    opaque: bool = False
    routes: tuple[ProfileRoute, ...] = ()
    overrides: tuple[tuple[str, int], ...] = ()
    budget: Budget | None = Budget()
    endpoint: Place | None = None

    @property
    def governs(self) -> bool:
        """Whether it switches routes and annotations off: linkerd2-proxy app/outbound/src/http/logical.rs."""
        return bool(self.routes or self.overrides)


class Destinations:
    """Answers for endpoints and profiles.

    Args:
        objects: What the control plane watches.
        settings: How it was installed.
        warn: Takes what the destination service would log.
    """

    def __init__(self, objects: Objects, settings: ControlPlaneSettings, warn: Callable[[str], None]) -> None:
        self._objects = objects
        self._settings = settings
        self._warn = warn

    def endpoints(self, name: str, namespace: str, port: int) -> tuple[Place, ...]:
        """The ready endpoints of a Service's port."""
        service = self._objects.services.get((namespace, name))
        if service is None:
            return ()
        said = next((p for p in service["spec"].get("ports") or [] if p["port"] == port), None)
        if said is None:
            return ()
        found: list[Place] = []
        for item in self._objects.slices(namespace, name):
            found += self._places(item, said.get("name") or "")
        return tuple(sorted(found, key=lambda place: (place.address, place.port)))

    def _places(self, item: Object, port_name: str) -> Iterator[Place]:
        numbers = [p["port"] for p in item.get("ports") or [] if (p.get("name") or "") == port_name]
        for entry in item.get("endpoints") or [] if numbers else []:
            if (entry.get("conditions") or {}).get("ready") is False:
                continue
            target = entry.get("targetRef") or {}
            namespace = target.get("namespace") or item["metadata"]["namespace"]
            pod = self._objects.pods.get((namespace, target.get("name", "")))
            for address in entry["addresses"]:
                yield self.place(pod, address, numbers[0])

    def place(self, pod: Object | None, address: str, port: int) -> Place:
        """One address of a pod."""
        if pod is None:
            return Place(address, port, "", "", "", "", None)
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        account = pod["spec"].get("serviceAccountName") or "default"
        control_plane = labels.get(CONTROL_PLANE) or ""
        hinted = bool(control_plane) and port not in skipped_ports(pod)
        ours = hinted and control_plane == self._settings.namespace
        identity = self._settings.identity(meta["namespace"], account) if ours else None
        workload = labels.get("linkerd.io/proxy-deployment") or meta["name"]
        return Place(
            address, port, meta["name"], meta["namespace"], account, workload, identity,
            self._is_opaque(pod, port), control_plane, hinted, owner_of(pod) or (), labels.get(TEMPLATE_HASH) or "",
        )  # fmt: skip

    def _is_opaque(self, pod: Object, port: int) -> bool:
        """Whether a pod's port is opaque: by annotation or default, or by a Server, whichever governs the port."""
        text = annotations_of(pod).get(OPAQUE_PORTS)
        if port in (self._settings.opaque_ports if text is None else _listed(text, numbers_by_name(pod))):
            return True
        return any(
            server["spec"].get("proxyProtocol") == "opaque" and port in ports_picked(server, pod)
            for server in self._objects.of("Server")
        )

    def profile(self, name: str, namespace: str, port: int, client: str) -> Profile:
        """The profile of a Service's port for clients of a namespace; theirs beats the Service's.

        Raises:
            NoProfile: its retry budget or a condition cannot be read, so nothing is sent.
        """
        service = self._objects.services.get((namespace, name))
        if service is not None and all(said["port"] != port for said in service["spec"].get("ports") or []):
            # Of a port that a Service does not have its policy speaks: controller/api/destination/server.go.
            return Profile(None, port, budget=None)
        text = annotations_of(service).get(OPAQUE_PORTS)
        named = {
            p["name"]: p["port"]
            for p in reversed((service or {"spec": {}})["spec"].get("ports") or [])
            if p.get("name")
        }
        opaque = port in (self._settings.opaque_ports if text is None else _listed(text, named))
        host = f"{name}.{namespace}.svc.{self._settings.domain}"
        for where in dict.fromkeys((client, namespace)):
            found = self._objects.find("ServiceProfile", where, host)
            if found is not None:
                return self._read(found, (namespace, name), port, opaque=opaque)
        return Profile((namespace, name), port, opaque=opaque)

    def profile_of_address(self, address: str, port: int) -> Profile:
        """The profile of one pod's port."""
        pod = next((p for p in self._objects.pods.values() if (p.get("status") or {}).get("podIP") == address), None)
        place = self.place(pod, address, port)
        return Profile(None, port, opaque=place.opaque, endpoint=place)

    def _read(self, found: Object, service: tuple[str, str], port: int, *, opaque: bool) -> Profile:
        meta, spec = found["metadata"], found["spec"]
        routes = []
        for entry in spec.get("routes") or []:
            self._see_conditions(entry)
            timeout = None
            if entry.get("timeout"):
                try:
                    timeout = seconds(entry["timeout"]) or None
                except ValueError:
                    self._warn(
                        f"error failed to parse duration for route '{entry['name']}' in service profile "
                        f"'{meta['name']}' in namespace '{meta['namespace']}': time: invalid duration "
                        f'"{entry["timeout"]}"'
                    )
            routes.append(
                ProfileRoute(
                    entry["name"],
                    entry["condition"],
                    tuple(entry.get("responseClasses") or ()),
                    bool(entry.get("isRetryable")),
                    timeout,
                )
            )
        overrides = []
        for entry in spec.get("dstOverrides") or []:
            authority = entry.get("authority") or ""
            overrides.append((authority if ":" in authority else f"{authority}:{port}", weight_of(entry)))
        return Profile(
            service, port, meta["name"], meta["namespace"], opaque, tuple(routes), tuple(overrides),
            self._budget(spec.get("retryBudget")),
        )  # fmt: skip

    def _see_conditions(self, route: Object) -> None:
        fault = request_fault(route["condition"])
        for entry in route.get("responseClasses") or []:
            fault = fault or response_fault(entry["condition"])
        if fault is not None:
            self._warn(f"error {fault}")
            raise NoProfile("no update was sent")

    def _budget(self, said: Object | None) -> Budget:
        if said is None:
            return Budget()
        try:
            ttl = seconds(said["ttl"])
        except ValueError:
            self._warn(f'error time: invalid duration "{said["ttl"]}"')
            raise NoProfile("no update was sent") from None
        return Budget(float(said["retryRatio"]), int(said["minRetriesPerSecond"]), ttl)


def _listed(text: str, named: Mapping[str, int]) -> frozenset[int]:
    """Ports by number, range or name; a part that is none of them is passed over: linkerd2 pkg/util/parsing.go."""
    found: set[int] = set()
    for part in (part.strip() for part in text.split(",")):
        found |= {named[part]} if part in named else ports(part)
    return frozenset(found)


_QUANTITY = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?[0-9]+))?")
_POWERS = {
    name: power for power, name in zip(range(-9, 21, 3), ("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), strict=True)
}
_BINARY = {name: power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}


def weight_of(override: Object) -> int:
    """The weight of a destination, a Kubernetes quantity (``900m``, ``1``, ``1k``), in ten-thousandths of 32 bits.

    linkerd2 controller/api/destination/profile_translator.go, ``toDstOverrides``.

    Raises:
        ValueError: it is none.
    """
    text = str(override.get("weight", 0))
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no quantity")
    digits, binary, suffix, exponent = found.groups()
    factor = Decimal(1024) ** _BINARY[binary] if binary else Decimal(10) ** _power(exponent, suffix)
    thousandths = (Decimal(digits) * factor * 1000).to_integral_value(ROUND_UP)
    return int(thousandths) * WHOLE_WEIGHT // 1000 % 2**32


def _power(exponent: str | None, suffix: str | None) -> int:
    # Beyond these bounds all digits of a weight are lost anyway.
    return max(-40, min(40, int(exponent))) if exponent else _POWERS[suffix or ""]


__all__ = [
    "CONTROL_PLANE",
    "Budget",
    "Destinations",
    "NoProfile",
    "Place",
    "Profile",
    "ProfileRoute",
    "weight_of",
]
