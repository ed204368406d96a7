"""What the proxies count: the series that an experiment left, compared with the recorded ones.

The recording names the telling labels of each series (``metrics_after``); ours are added up over all other labels. What
the lab is known to count otherwise is a rule with its reason (``RULES``); anything else is a difference that nobody
declared. Pure functions of the two; the pages are read elsewhere.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fidelity.linkerd.expected import DECLARED, left_to_chance
from tests.fidelity.linkerd.world import inbound_ports, is_inbound, service_of

Object = dict[str, Any]
Labels = frozenset[tuple[str, str]]
Series = tuple[str, Labels]
Counts = dict[Series, float]

_SERIES = re.compile(r"^(\w+)(?:\{(.*)\})?$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """A line of a page of metrics."""

    family: str
    labels: Mapping[str, str]
    value: float


def samples(page: str) -> list[Sample]:
    """The lines of a page."""
    found = []
    for line in page.splitlines():
        series, _, value = line.rpartition(" ")
        match = _SERIES.match(series)
        if match and not line.startswith("#"):
            found.append(Sample(match[1], dict(_LABEL.findall(match[2] or "")), float(value)))
    return found


def recorded(experiment: Object) -> Counts:
    """The recorded series: family and telling labels → value."""
    found = {}
    for series, value in (experiment.get("metrics_after") or {}).items():
        family, _, inside = series.partition("{")
        found[family, frozenset(_LABEL.findall(inside))] = float(value)
    return found


def by_side(pages: Mapping[str, str]) -> tuple[list[Sample], list[Sample]]:
    """What the calling client's proxy tells, and what those of the called pods do."""
    called = [sample for pod, page in pages.items() if pod != "client" for sample in samples(page)]
    return samples(pages["client"]), called


def of_experiment(experiment: Object, found: Iterable[Sample]) -> list[Sample]:
    """Which samples of all are an experiment's, with the recording's own names in their labels.

    Args:
        experiment: Each has a Service of its own, or a port; a meshed one of a server was recorded after the unmeshed one.
        found: The pages of all proxies.
    """
    if not is_inbound(experiment):
        name = service_of(experiment)
        return [s for s in found if name in (s.labels.get("parent_name"), s.labels.get("dst_service"))]
    base = experiment["id"].partition("/")[0]
    names = {experiment["id"], f"{base}/unmeshed"} if experiment["id"].endswith("/meshed") else {experiment["id"]}
    ports = {str(port) for name, port in inbound_ports().items() if name in names}
    return [
        Sample(s.family, _plain(s.labels), s.value)
        for s in found
        if s.labels.get("target_port") in ports and s.labels.get("direction", "inbound") == "inbound"
    ]


def _plain(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels without the port that this lab adds to the names of an experiment's resources."""
    return {name: value.removesuffix(f"-{labels['target_port']}") for name, value in labels.items()}


# What is declared to be counted otherwise

Told = Callable[[Object, str, dict[str, str]], dict[str, str] | None]
"""An experiment, a family, a series' labels → the labels under which both sides are compared; ``None``: not at all."""
_CUT = {"REQUEST_TIMEOUT", "RESPONSE_STREAM_TIMEOUT", "IDLE_TIMEOUT"}
_BACKEND, _ENDED = "outbound_http_route_backend_response_statuses_total", "outbound_http_route_request_statuses_total"
BALANCER = "outbound_http_balancer_endpoints"


@dataclass(frozen=True, slots=True)
class Rule:
    """A difference that is known."""

    why: str
    told: Told


def _unserved(_experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    unserved = family == "inbound_tcp_authz_deny_total" or family.startswith("route_")
    return None if unserved else labels


def _of_the_queue(_experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    return None if family == _BACKEND and labels.get("error") == "FAIL_FAST" else labels


def _of_a_retry(_experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    again = family == _BACKEND and labels["http_status"] and labels["error"] == "UNKNOWN"
    return {**labels, "error": ""} if again else labels


def _of_a_retry_of_grpc(_experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    of_trailers = family.startswith("outbound_grpc_route_backend_") and labels["grpc_status"] in {
        "UNKNOWN",
        "UNAVAILABLE",
    }
    return {**labels, "grpc_status": "UNAVAILABLE or UNKNOWN"} if of_trailers else labels


def _cut_before_its_headers(_experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    cut = family == _BACKEND and not labels["http_status"] and labels["error"] in _CUT
    return {**labels, "error": "UNKNOWN"} if cut else labels


def _cut_in_its_body(_experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    if family == _BACKEND and labels["http_status"] == "200" and labels["error"] in _CUT:
        return {**labels, "error": ""}
    if family == "response_total" and labels.get("status_code") == "200" and labels["error"] == "unclassified":
        return {**labels, "error": "", "classification": "success"}
    return labels


def _which_timeout(_experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    late = family == _ENDED and labels["error"] == "RESPONSE_STREAM_TIMEOUT"
    return {**labels, "error": "REQUEST_TIMEOUT"} if late else labels


def _limit(experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    either = family == "inbound_http_local_ratelimit_total" and experiment["id"].startswith("in-rl-over/")
    return {**labels, "ratelimit_scope": ""} if either else labels


def _no_service(_experiment: Object, _family: str, labels: dict[str, str]) -> dict[str, str] | None:
    return None if labels.get("backend_name") == "fail" else labels


def _unused(experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    routed = any(resource["kind"].endswith("Route") for resource in experiment.get("resources") or [])
    return None if family == BALANCER and routed and labels["backend_name"] == service_of(experiment) else labels


def _by_now(_experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    return {**labels, "endpoint_state": "pending or ready"} if family == BALANCER else labels


def _of_a_profile(experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    if experiment.get("profile") is None or family != "response_total":
        return labels
    classless = {name: value for name, value in labels.items() if name != "classification"}
    return classless if labels["error"] != "unclassified" else None


def _waits_again(experiment: Object, family: str, labels: dict[str, str]) -> dict[str, str] | None:
    return None if experiment["id"] == "rt-empty" and family.endswith("_retry_requests_total") else labels


def _by_a_server(experiment: Object, _family: str, labels: dict[str, str]) -> dict[str, str] | None:
    if not experiment["id"].startswith("in-undeclared"):
        return labels
    return {name: value for name, value in labels.items() if not name.startswith("srv_")}


RULES = {
    "families": Rule("The lab serves no families of ServiceProfiles' routes, nor of denied connections.", _unserved),
    "queue": Rule("Where Linkerd's backend is in fail-fast, Envoy has chosen none to count it by.", _of_the_queue),
    "retried": Rule("A try does not know that another follows; Linkerd drops its answer and counts UNKNOWN.", _of_a_retry),
    "retried-grpc": Rule("Envoy starts the next try before the trailers are counted.", _of_a_retry_of_grpc),
    "cut": Rule("Envoy does not say why a try was given up; it may be the caller who left.", _cut_before_its_headers),
    "cut-body": Rule("Envoy counts a try by its headers, though its body was cut later.", _cut_in_its_body),
    "timeouts": Rule("Envoy has one timeout for both of Linkerd's.", _which_timeout),
    "limits": Rule("Envoy does not say which of two limits a request passed.", _limit),
    "no-service": Rule("The answer for a Service that does not exist is a route's own, without a backend.", _no_service),
    "unused": Rule("A Service's own endpoints are not watched while its routes lead elsewhere.", _unused),
    "by-now": Rule("What is in penalty when the page is read was there for another time.", _by_now),
    "profiles": Rule("A profile's classes of answers and the tries that its timeout cuts are not counted.", _of_a_profile),
    "waits-again": Rule("The wait for a backend without endpoints is no try in Envoy.", _waits_again),
    "server": Rule("The recorded default is none that an injector gives; here it is a Server's (``world``).", _by_a_server),
}  # fmt: skip
"""By their names; each is needed (``test_counted``)."""


def _ruled(experiment: Object, counts: Mapping[Series, float], rules: Iterable[str]) -> Counts:
    made: Counts = collections.defaultdict(float)
    for (family, labels), value in counts.items():
        told: dict[str, str] | None = dict(labels)
        for name in rules:
            told = RULES[name].told(experiment, family, told) if told is not None else None
        if told is not None:
            made[family, frozenset(told.items())] += value
    return dict(made)


# Comparing


def counted(theirs: Mapping[Series, float], found: Iterable[Sample]) -> Counts:
    """Samples added up over all labels but those that the recording names of their family, without what is zero."""
    telling: dict[str, set[str]] = collections.defaultdict(set)
    for family, labels in theirs:
        telling[family] |= {name for name, _ in labels}
    sums: Counts = collections.defaultdict(float)
    for sample in found:
        labels = frozenset((n, v) for n, v in sample.labels.items() if n in telling.get(sample.family, ()))
        if sample.family in telling and sample.value:
            sums[sample.family, labels] += sample.value
    return dict(sums)


def _alone(name: str) -> bool:
    """Whether an unmeshed client's requests stand in the recorded counters, but are not in the recording."""
    return name.endswith("/meshed") and f"{name.partition('/')[0]}/unmeshed" not in inbound_ports()


EITHER = {"rt-timeout-req"}
"""Chance decides by which of two timeouts its last try is cut, and that is a label."""


def determined(experiment: Object) -> bool:
    """Whether neither chance nor a declared difference decides how many requests come to what."""
    name = experiment["id"]
    return not (_alone(name) or name in DECLARED or left_to_chance(name))


def differences(experiment: Object, found: Iterable[Sample], rules: Iterable[str] = tuple(RULES)) -> Iterator[str]:
    """Series that only one of the two has, and other values where they are determined.

    Of an experiment that behaves otherwise, as declared or by chance, the families alone.
    """
    name, raw = experiment["id"], recorded(experiment)
    if _alone(name):
        raw = {series: value for series, value in raw.items() if ("tls", "no_identity") not in series[1]}
    ours = _ruled(experiment, counted(raw, of_experiment(experiment, found)), rules)
    theirs = _ruled(experiment, raw, rules)
    if name in DECLARED or name in EITHER:
        yield from (f"no {family}" for family in sorted({f for f, _ in theirs} - {f for f, _ in ours}))
        return
    for series in sorted(theirs.keys() | ours.keys(), key=lambda key: (key[0], sorted(key[1]))):
        mine, told = ours.get(series), theirs.get(series)
        # Linkerd has a balancer for each protocol that was spoken.
        exact = determined(experiment) and series[0] != BALANCER
        if mine != told and (exact or not (mine and told)):
            yield f"{_shown(*series)}: {mine}, recorded {told}"


def _shown(family: str, labels: Labels) -> str:
    return f"{family}{{{', '.join(f'{name}={value!r}' for name, value in sorted(labels))}}}"
