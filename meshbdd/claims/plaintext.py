"""The claim that a service rejects plaintext, port by port and endpoint by endpoint. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from meshbdd.claims.verdict import Verdict
from meshbdd.grpc_statuses import GRPC_CODES
from meshbdd.load.sample import Sample
from meshbdd.units import counted


@dataclass(frozen=True, slots=True)
class Plain:
    """What a client outside the mesh met at one endpoint of a service.

    Attributes:
        port: The Service's port that leads there.
        pod: The endpoint's pod.
        sidecar: Whether that pod has a sidecar.
        sample: What the client met.
        denied: Whether the pod's own proxy says that it denied the request for having no identity.
    """

    port: int
    pod: str
    sidecar: bool
    sample: Sample
    denied: bool = False

    @property
    def rejected(self) -> bool:
        """Whether no HTTP answer came, or only the proxy's denial."""
        return self.sample.error in {"reset", "refused"} or self.denied


def rejects_plaintext(
    service: str, answers: Sequence[Plain], control: Mapping[int, Sample], others: Sequence[str] = ()
) -> Verdict:
    """A client outside the mesh gets a reset, or a proxy's denial, at every endpoint of every port that answers a meshed one.

    Args:
        service: The service.
        answers: What the client outside the mesh met, at every ready endpoint.
        control: HTTP port → what a meshed client met; a service that answers nobody rejects nothing.
        others: Its ports that do not speak HTTP, in words: nothing is claimed of them.
    """
    claim = f"{service} rejects plaintext"
    left = f"; not looked at: {', '.join(others)}" if others else ""
    numbers = {
        "answers": [{"port": a.port, "pod": a.pod, "sidecar": a.sidecar, "met": a.sample.told} for a in answers],
        "with_certificate": {port: sample.told for port, sample in control.items()},
        "not_looked_at": list(others),
    }
    if not control:
        return Verdict.cannot_tell(f"{claim}: it has no HTTP port{left}", "look at the service's ports", **numbers)
    for answer in answers:
        if answer.sample.status is not None and not answer.rejected:
            where = f"port {answer.port} of pod {answer.pod}"
            bare = "" if answer.sidecar else ", which has no sidecar,"
            told = f"{where}{bare} answered a client without a certificate with {answer.sample.told}"
            return Verdict.of(False, f"{claim}: {told}", **numbers)
    for port, meshed in control.items():
        doubt = _doubt(port, [answer for answer in answers if answer.port == port], meshed)
        if doubt:
            return Verdict.cannot_tell(f"{claim}: {doubt}", "look at the service", **numbers)
    told = ", ".join(f"port {port} {_met(port, answers)}" for port in control)
    return Verdict.of(True, f"{claim}: {told} without a certificate, answered with one{left}", **numbers)


def _doubt(port: int, answers: Sequence[Plain], meshed: Sample) -> str:
    """Why it cannot be told of a port that answered nobody without a certificate; empty where it can."""
    if not answers:
        return f"port {port} has no ready endpoint"
    for answer in answers:
        if not answer.sidecar:
            return f"pod {answer.pod} has no sidecar that could reject anything, and port {port} met a {answer.sample.told}"
        if not answer.rejected:
            return f"at port {port} of pod {answer.pod} the client outside the mesh met a {answer.sample.told}"
    if not _came_from_the_service(meshed):
        return f"port {port} does not answer a meshed client either ({meshed.told})"
    if _denies(meshed) and any(answer.denied for answer in answers):
        return f"port {port} turns a meshed client away as well ({meshed.told})"
    return ""


def _came_from_the_service(meshed: Sample) -> bool:
    """Whether an answer is the service's, or its proxy's: what the client's own proxy makes up lacks Envoy's mark."""
    if meshed.status is None:
        return False
    return meshed.succeeded or "x-envoy-upstream-service-time" in (meshed.headers or {})


def _denies(meshed: Sample) -> bool:
    """Whether an answer is a denial; a gRPC call's has the HTTP status 200."""
    denied = str(GRPC_CODES["PERMISSION_DENIED"])
    return meshed.status == HTTPStatus.FORBIDDEN or (meshed.headers or {}).get("grpc-status") == denied


def _met(port: int, answers: Sequence[Plain]) -> str:
    met = [answer.sample.told for answer in answers if answer.port == port]
    return f"{met[0]} ({len(met)} of {counted(len(met), 'endpoint')})"
