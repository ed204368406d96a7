"""Asks a service in plaintext, as a client outside the mesh does: every ready endpoint of every HTTP port."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from meshbdd.claims import Verdict
from meshbdd.claims.plaintext import Plain, rejects_plaintext
from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.load import Message, Sample
from meshbdd.port_protocols import may_carry_http
from meshbdd.scenario.hosts import endpoints
from meshbdd.scenario.traffic import Traffic
from meshbdd.sense.protocols import protocol_of
from meshbdd.sidecars import PROBE_AGENT
from meshbdd.telemetry.proxies import Proxies, address_of


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
    pods = {address_of(pod): str(pod["metadata"]["name"]) for pod in proxies.pods(service)}
    meshed = {str(pod["metadata"]["name"]) for pod in proxies.meshed(service)}
    answers: list[Plain] = []
    control: dict[int, Sample] = {}
    others: list[str] = []
    for declared in found["spec"].get("ports") or []:
        port, protocol = int(declared["port"]), protocol_of(declared)
        if not may_carry_http(protocol):
            others.append(f"port {port} ({protocol})")
            continue
        message = _probe(service, port)
        for address in endpoints(cluster, _probe(own, port), service.namespace):
            sample = traffic.own.probe(message, straight_to=address)
            pod = pods.get(address.rpartition(":")[0].strip("[]"), address)
            turned_away = sample.status == HTTPStatus.FORBIDDEN and denied(sample)
            answers.append(Plain(port, pod, pod in meshed, sample, turned_away))
        control[port] = traffic.own.probe(_call(service, port) if protocol == "grpc" else message)
    return rejects_plaintext(str(service), answers, control, others)


def _probe(service: ServiceRef, port: int) -> Message:
    return Message("probe", "HEAD", f"http://{service.host}:{port}/", {"user-agent": PROBE_AGENT}, None)


def _call(service: ServiceRef, port: int) -> Message:
    """A gRPC call: where Linkerd has a GRPCRoute, a meshed client's proxy lets nothing else out, its own error aside."""
    headers = {"user-agent": PROBE_AGENT, "content-type": "application/grpc"}
    return Message("probe", "POST", f"http://{service.host}:{port}/meshbdd.Probe/Probe", headers, None)
