"""The claim that a service rejects plaintext, port by port and endpoint by endpoint. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from meshbdd.claims.verdict import Verdict
from meshbdd.grpc_statuses import GRPC_CODES
from meshbdd.load.sample import Sample
from meshbdd.units import counted

_DECLARED = "declare the port under `ports:` of the container"
_SENT_OUTSIDE = "look at what is named, or send a request from outside the mesh and claim that it is turned away"


@dataclass(frozen=True, slots=True)
class Plain:
    """What a client outside the mesh met at one endpoint of a service.

    Attributes:
        port: The Service's port that leads there.
        pod: The endpoint's pod.
        sidecar: Whether that pod has a sidecar.
        sample: What the client met.
        denied: Whether the pod's own proxy says that it denied the request.
        let_in: What lets others in there by their identity, in words; told where a meshed client was denied as well.
        doubt: Why it may have been denied for something else than for having no identity; told in the same case.
        once: Why the next client might meet something else, in words.
    """

    port: int
    pod: str
    sidecar: bool
    sample: Sample
    denied: bool = False
    let_in: str = ""
    doubt: str = ""
    once: str = ""

    @property
    def rejected(self) -> bool:
        """Whether no HTTP answer came, or only the proxy's denial."""
        return self.sample.error in {"reset", "refused"} or self.denied


def rejects_plaintext(
    service: str, answers: Sequence[Plain], control: Mapping[int, Sample], others: Sequence[str] = ()
) -> Verdict:
    """A client outside the mesh gets a reset, or a proxy's denial, at every endpoint of every port that answers a meshed one.

    A meshed client that is denied too may be the wrong one: then it counts whether others are let in by their identity.

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
        "let_in": {f"port {a.port} of pod {a.pod}": a.let_in for a in answers if a.let_in},
        "with_certificate": {port: sample.told for port, sample in control.items()},
        "not_looked_at": list(others),
    }
    if not control:
        return Verdict.cannot_tell(f"{claim}: it has no HTTP port{left}", "look at the service's ports", **numbers)
    for answer in answers:
        if answer.sample.status is not None and not answer.rejected and not answer.once:
            where = f"port {answer.port} of pod {answer.pod}"
            bare = "" if answer.sidecar else ", which has no sidecar,"
            told = f"{where}{bare} answered a client without a certificate with {answer.sample.told}"
            return Verdict.of(False, f"{claim}: {told}", **numbers)
    for answer in answers:
        if answer.once:
            met = f"a client without a certificate met a {answer.sample.told} there"
            return Verdict.cannot_tell(f"{claim}: {answer.once}; {met}", _DECLARED, **numbers)
    for port, meshed in control.items():
        here = [answer for answer in answers if answer.port == port]
        if doubt := _doubt(port, here, meshed):
            return Verdict.cannot_tell(f"{claim}: {doubt}", "look at the service", **numbers)
        if denied_too(here, meshed) and (doubt := _doubt_of_reason(port, here, meshed)):
            return Verdict.cannot_tell(f"{claim}: {doubt}", _SENT_OUTSIDE, **numbers)
    told = ", ".join(f"port {port} {_met(port, answers)}" for port in control)
    return Verdict.of(True, f"{claim}: {told} without a certificate, {_let_in(answers, control)}{left}", **numbers)


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
    return ""


def denied_too(answers: Sequence[Plain], meshed: Sample) -> bool:
    """Whether a meshed client was denied at a port as the one outside the mesh was, so that its answer tells the two not apart."""
    return _denies(meshed) and any(answer.denied for answer in answers)


def _doubt_of_reason(port: int, answers: Sequence[Plain], meshed: Sample) -> str:
    """Why it cannot be told for what the client outside the mesh was denied where a meshed one is denied too; empty where it can."""
    for answer in answers:
        if answer.denied and not answer.let_in:
            why = answer.doubt or f"nothing tells whom pod {answer.pod} lets in"
            return f"port {port} turns a meshed client away as well ({meshed.told}), and {why}"
    return ""


def _let_in(answers: Sequence[Plain], control: Mapping[int, Sample]) -> str:
    """How clients with a certificate fare at each port, in words."""
    denied = [port for port in control if any(answer.let_in for answer in answers if answer.port == port)]
    told = ["answered with one"] if len(denied) < len(control) else []
    for port in denied:
        ways = dict.fromkeys(answer.let_in for answer in answers if answer.port == port and answer.let_in)
        told.append(f"as a meshed client was at port {port} ({control[port].told}), but {' and '.join(ways)}")
    return ", ".join(told)


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
