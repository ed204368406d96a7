"""Whether clients speak what servers expect: DestinationRule ``tls`` against PeerAuthentication."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from meshbdd import peer_modes
from meshbdd.peer_modes import PeerPolicy
from meshbdd.sense import catalog
from meshbdd.sense.destination_rules import policies, targets
from meshbdd.sense.finding import Finding
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory
from meshbdd.sense.pods import Workload, target_ports
from meshbdd.sense.reading import Object, at, mapping, mappings, namespace_of, text, told, whole

STRICT, DISABLE = "STRICT", "DISABLE"


def in_force(world: Inventory, pod: Workload, port: int | None = None) -> str:
    """The mode of mutual TLS that a pod's sidecar asks for at a container port."""
    homes = dict.fromkeys((ROOT_NAMESPACE, pod.namespace))
    policies = [_read(policy) for home in homes for policy in world.peer_authentications(home)]
    return peer_modes.in_force(policies, ROOT_NAMESPACE, pod.namespace, pod.labels, port)


def _read(policy: Object) -> PeerPolicy:
    # In YAML the keys of ports are numbers, in JSON texts.
    ports = {str(key): text(level, "mode") for key, level in mapping(policy, "spec", "portLevelMtls").items()}
    labels = mapping(policy, "spec", "selector", "matchLabels")
    return PeerPolicy(namespace_of(policy), labels, text(policy, "spec", "mtls", "mode"), ports)


def clients(world: Inventory) -> Iterator[Finding]:
    """Client TLS that the servers do not take, and TLS that verifies nobody."""
    for rule in world.of("DestinationRule"):
        hosts = list(targets(world, rule))
        for where, block, labels in policies(rule):
            mode = text(block, "tls", "mode")
            if mode in {"SIMPLE", "MUTUAL"}:
                yield from _verification(rule, where, mapping(block, "tls"))
            if mode:
                yield from _against_servers(world, rule, where, mode, hosts, labels, _for_port(block))


def _verification(rule: Object, where: str, tls: Mapping[str, Any]) -> Iterator[Finding]:
    verified = text(tls, "caCertificates") or text(tls, "credentialName") or at(tls, "insecureSkipVerify") is True
    if not verified:
        yield catalog.NO_CA.on(
            rule, f"{where}: tls mode {text(tls, 'mode')} without caCertificates does not verify who the server is."
        )


def _for_port(block: Mapping[str, Any]) -> Callable[[int | None], bool]:
    """For which ports of a Service a block of settings counts.

    A port with settings of its own inherits nothing, not even what they leave out.
    https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-PortTrafficPolicy
    """
    own = whole(block, "port", "number")
    if own is not None:
        return lambda port: port == own
    others = {whole(settings, "port", "number") for settings in mappings(block, "portLevelSettings")}
    return lambda port: port not in others


def _against_servers(
    world: Inventory,
    rule: Object,
    where: str,
    mode: str,
    hosts: list[str],
    labels: Any,
    counts: Callable[[int | None], bool],
) -> Iterator[Finding]:
    strict, plain = [], []
    for host in hosts:
        service = world.services.get(host)
        if service is None:
            continue
        spec = mapping(service, "spec")
        ports = [port for port in mappings(spec, "ports") if counts(whole(port, "port"))]
        for pod in world.behind(service, labels) if ports else ():
            if pod.is_ambient(world.namespaces.get(pod.namespace)):
                continue  # ztunnel speaks mutual TLS for it, whatever clients with sidecars are told
            targets: set[int | None] = set(target_ports({**service, "spec": {**spec, "ports": ports}}, [pod])) or {None}
            modes = {in_force(world, pod, number) for number in targets} if pod.meshed else {DISABLE}
            if STRICT in modes:
                strict.append(host)
            if modes == {DISABLE}:
                plain.append(host)
    if mode != "ISTIO_MUTUAL" and strict:
        yield catalog.PLAINTEXT_TO_STRICT.on(
            rule,
            f"{where}: tls mode {mode} switches automatic mutual TLS off, and mutual TLS is STRICT at "
            f"{told(list(dict.fromkeys(strict)))}; callers get 503 (UC).",
        )
    if mode == "ISTIO_MUTUAL" and plain:
        yield catalog.TLS_TO_PLAINTEXT.on(
            rule,
            f"{where}: tls mode ISTIO_MUTUAL, and mutual TLS is disabled, or there is no sidecar, at "
            f"{told(list(dict.fromkeys(plain)))}; callers get 503 (UF).",
        )
