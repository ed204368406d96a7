"""Which EgressNetwork an address outside of the cluster belongs to, and whether one reaches into the cluster.

linkerd2 policy-controller/k8s/index/src/outbound/index/egress_network.rs and policy-controller/k8s/api/src/policy/network.rs
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Object = Mapping[str, Any]
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_POINT_TO_POINT = 31
_U64 = 2**64
"""A size that would be negative wraps around, as it does in Rust."""


@dataclass(frozen=True, slots=True)
class Block:
    """One entry of an EgressNetwork's ``networks``."""

    whole: Network
    excepted: tuple[Network, ...] = ()

    def holds(self, address: Address) -> bool:
        """Whether an address is in it."""
        return address in self.whole and not any(address in hole for hole in self.excepted)

    def reaches(self, other: Network) -> bool:
        """Whether it and another network have addresses in common; an exception has to hold all of the other."""
        together = _within(self.whole, other) or _within(other, self.whole)
        return together and not any(_within(other, hole) for hole in self.excepted)

    @property
    def size(self) -> int:
        """How many hosts it has: fewer are more specific. Exceptions are taken not to overlap."""
        return (_hosts(self.whole) - sum(map(_hosts, self.excepted))) % _U64


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.overlaps(outer) and inner.prefixlen >= outer.prefixlen


def _hosts(network: Network) -> int:
    spared = 2 if network.version == 4 and network.prefixlen < _POINT_TO_POINT else 0
    return network.num_addresses - spared


def blocks(network: Object, cluster: Iterable[str]) -> Iterator[Block]:
    """What an EgressNetwork covers; without ``networks`` everything outside of the cluster."""
    inside = [ip_network(cidr) for cidr in cluster]
    entries = network["spec"].get("networks")
    if entries is None:
        for everything in ("0.0.0.0/0", "::/0"):
            whole = ip_network(everything)
            yield Block(whole, tuple(own for own in inside if own.version == whole.version))
    for entry in entries or []:
        holes = tuple(ip_network(cidr, strict=False) for cidr in entry.get("except") or [])
        yield Block(ip_network(entry["cidr"], strict=False), holes)


def overlaps(network: Object, cluster: Iterable[str]) -> bool:
    """Whether an EgressNetwork reaches into the cluster's networks."""
    inside = tuple(cluster)
    return any(block.reaches(ip_network(own)) for block in blocks(network, inside) for own in inside)


def picked(networks: Iterable[Object], address: str, cluster: Iterable[str]) -> Object | None:
    """The network of an address: the one with the smallest fitting block, the oldest, the first by name.

    Whether it was accepted is not asked.
    """
    where, inside = ip_address(address), tuple(cluster)
    fitting: list[tuple[int, str, str, str]] = []
    known: dict[tuple[str, str], Object] = {}
    for network in networks:
        sizes = [block.size for block in blocks(network, inside) if block.holds(where)]
        meta = network["metadata"]
        known[meta["namespace"], meta["name"]] = network
        if sizes:
            # One without a time counts as the oldest.
            fitting.append((min(sizes), str(meta.get("creationTimestamp") or ""), meta["namespace"], meta["name"]))
    return known[min(fitting)[2:]] if fitting else None
