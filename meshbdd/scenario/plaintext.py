"""Asks a service in plaintext, as a client outside the mesh does: every ready endpoint of every HTTP port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus

from meshbdd.claims import Verdict
from meshbdd.claims.plaintext import Plain, denied_too, rejects_plaintext
from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.load import Message, Sample
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.letting_in import letting_in
from meshbdd.mesh.linkerd.undeclared import first_connection
from meshbdd.port_protocols import may_carry_http
from meshbdd.scenario.hosts import endpoints
from meshbdd.scenario.traffic import Traffic
from meshbdd.sense.protocols import protocol_of
from meshbdd.sidecars import PROBE_AGENT
from meshbdd.telemetry.proxies import Object, Proxies, address_of


def ask_in_plaintext(
    service: ServiceRef,
    cluster: Cluster,
    proxies: Proxies,
    traffic: Traffic,
    denied: Callable[[Sample], bool],
) -> Verdict:
    """Whether no HTTP port of a service answers a client outside the mesh, and each answers one inside.

    Args:
        service: The service.
        cluster: Where it runs.
        proxies: Tells which of its pods have a sidecar.
        traffic: Sends the requests; no claim counts them.
        denied: Whether a proxy denied a request for having no identity.

    Raises:
        BadInput: there is no such service.
    """
    found = cluster.find("Service", service.name, service.namespace)
    if found is None:
        raise BadInput("MB0647", f'Service "{service}" does not exist.', help="correct the name")
    leads = proxies.leading_to(service) or found
    own = ServiceRef(leads["metadata"]["name"], service.namespace)
    pods = {address_of(pod): pod for pod in proxies.pods(service)}
    meshed = {str(pod["metadata"]["name"]) for pod in proxies.meshed(service)}
    answers: list[Plain] = []
    catalog = Catalog(cluster, proxies.sidecars)
    control: dict[int, Sample] = {}
    others: list[str] = []
    for declared in found["spec"].get("ports") or []:
        port, protocol = int(declared["port"]), protocol_of(declared)
        if not may_carry_http(protocol):
            others.append(f"port {port} ({protocol})")
            continue
        message = _probe(service, port)
        here: dict[str, Plain] = {}
        for address in endpoints(cluster, _probe(own, port), service.namespace):
            sample = traffic.own.probe(message, straight_to=address)
            pod = pods.get(_ip(address))
            name = str(pod["metadata"]["name"]) if pod else address
            turned_away = sample.status == HTTPStatus.FORBIDDEN and denied(sample)
            plain = Plain(port, name, name in meshed, sample, turned_away)
            once = first_connection(catalog, pod, _port(address), rejected=plain.rejected) if pod else ""
            here[address] = replace(plain, once=once)
        control[port] = traffic.own.probe(_call(service, port) if protocol == "grpc" else message)
        told = denied_too(list(here.values()), control[port])
        answers += _with_reasons(here, pods, catalog) if told else here.values()
    return rejects_plaintext(str(service), answers, control, others)


def _ip(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _with_reasons(answers: Mapping[str, Plain], pods: Mapping[str, Object], catalog: Catalog) -> Sequence[Plain]:
    """Answers, by the address that was asked, each with what tells whether it was for the want of an identity."""
    told = []
    for address, answer in answers.items():
        pod = pods.get(_ip(address))
        found = letting_in(catalog, pod, _port(address)) if pod and answer.denied else None
        told.append(replace(answer, let_in=found.by, doubt=found.doubt) if found else answer)
    return told


def _probe(service: ServiceRef, port: int) -> Message:
    return Message("probe", "HEAD", f"http://{service.host}:{port}/", {"user-agent": PROBE_AGENT}, None)


def _call(service: ServiceRef, port: int) -> Message:
    """A gRPC call: where Linkerd has a GRPCRoute, a meshed client's proxy lets nothing else out, its own error aside."""
    headers = {"user-agent": PROBE_AGENT, "content-type": "application/grpc"}
    return Message("probe", "POST", f"http://{service.host}:{port}/meshbdd.Probe/Probe", headers, None)
