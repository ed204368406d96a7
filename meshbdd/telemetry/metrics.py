"""Istio's standard metrics at the proxies themselves (port 15020), as differences: a series that is absent is not zero.

Meaning of names and labels: https://istio.io/latest/docs/reference/config/metrics/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from meshbdd.intents import ServiceRef
from meshbdd.telemetry.proxies import METRICS_PORT, Proxies

_REQUESTS = "istio_requests"


@dataclass(frozen=True, slots=True)
class Requests:
    """A line of ``istio_requests_total``, as far as claims ask.

    Attributes:
        pod: Whose proxy counted.
        reporter: ``source`` or ``destination``.
        source: Workload and namespace of the caller, ``unknown`` where it has no proxy.
        security: ``mutual_tls``, ``none`` or ``unknown``; only the destination knows.
        status: HTTP status.
    """

    pod: str
    reporter: str
    source: tuple[str, str]
    security: str
    status: str


def read(pod: str, page: str, service: ServiceRef) -> Counter[Requests]:
    """How many requests to a service a page of metrics counts, by its labels."""
    found: Counter[Requests] = Counter()
    for family in text_string_to_metric_families(page):
        if family.name != _REQUESTS:
            continue
        for sample in family.samples:
            labels = sample.labels
            if (labels.get("destination_service_name"), labels.get("destination_service_namespace")) != (
                service.name,
                service.namespace,
            ):
                continue
            source = (labels.get("source_workload", "unknown"), labels.get("source_workload_namespace", "unknown"))
            key = Requests(
                pod,
                labels.get("reporter", ""),
                source,
                labels.get("connection_security_policy", "unknown"),
                labels.get("response_code", ""),
            )
            found[key] += int(sample.value)
    return found


def requests_to(proxies: Proxies, service: ServiceRef, callers: Iterable[ServiceRef] = ()) -> Counter[Requests]:
    """What the proxies of a service, and those of its callers, have counted of requests to it so far."""
    total: Counter[Requests] = Counter()
    for owner in (service, *callers):
        for pod in proxies.meshed(owner):
            name = str(pod["metadata"]["name"])
            total += read(name, proxies.tunnel(pod, METRICS_PORT).text("/stats/prometheus"), service)
    return total
