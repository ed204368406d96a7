"""What the ports of pods take (mutual TLS, plaintext or both), by the PeerAuthentications that are there together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from meshbdd import peer_modes
from meshbdd.mesh.base import Labels, Object, Where
from meshbdd.mesh.catalog import Catalog, ports_of, selected
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE
from meshbdd.mesh.markers import TransportTaken
from meshbdd.peer_modes import PeerPolicy

TRANSPORTS = {
    "STRICT": frozenset({"tls"}),
    "PERMISSIVE": frozenset({"tls", "raw_buffer"}),
    "DISABLE": frozenset({"raw_buffer"}),
}
"""What the inbound chains of a port take in each mode: pilot's ``filterchain_options.go``."""


def selector(policy: Object) -> Mapping[str, str]:
    """The labels of the pods that a policy is for; none where it is for a whole namespace."""
    return (policy["spec"].get("selector") or {}).get("matchLabels") or {}


def by_age(policies: list[Object]) -> list[Object]:
    """The oldest first; one that is still to be written is the youngest."""
    return sorted(policies, key=lambda p: (p["metadata"].get("creationTimestamp") or "9999", p["metadata"]["name"]))


def transports(catalog: Catalog, places: Sequence[Where]) -> Iterator[TransportTaken]:
    """How the proxies of some pods show that they take what the policies say, at each port of each Service.

    Args:
        catalog: Of the cluster, and of what is written to it.
        places: The pods, each at one of these places at least.
    """
    policies = [_read(policy) for policy in by_age(catalog.all("PeerAuthentication"))]
    services = defaultdict[str, list[Object]](list)
    for service in catalog.all("Service"):
        if service["spec"].get("selector"):
            services[service["metadata"]["namespace"]].append(service)
    found = defaultdict[tuple[str, int], dict[Labels, frozenset[str]]](dict)
    for home, offered in services.items():
        meant = [place for place in places if place.namespace in (None, home)]
        for pod in catalog.with_proxy(home) if meant else ():
            labels = pod["metadata"].get("labels") or {}
            if not any(place.takes(pod["metadata"]) for place in meant):
                continue
            for service in offered:
                for port in ports_of(service, [pod]) if selected(service["spec"]["selector"], labels) else ():
                    mode = peer_modes.in_force(policies, ROOT_NAMESPACE, home, labels, port)
                    found[home, port][frozenset(labels.items())] = TRANSPORTS[mode]
    for (home, port), taken in found.items():
        for own, wanted in taken.items():
            # pods that have these labels and more may be under another policy
            others = tuple(Where(home, dict(more)) for more, other in taken.items() if more > own and other != wanted)
            yield TransportTaken((port,), wanted, Where(home, dict(own), others))


def _read(policy: Object) -> PeerPolicy:
    spec = policy["spec"]
    ports = {
        str(port): str((level or {}).get("mode") or "") for port, level in (spec.get("portLevelMtls") or {}).items()
    }
    mode = str((spec.get("mtls") or {}).get("mode") or "")
    return PeerPolicy(policy["metadata"]["namespace"], selector(policy), mode, ports)
