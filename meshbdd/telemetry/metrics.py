"""The mesh's own metrics at the proxies themselves, as differences: a series that is absent is not zero.

Meaning of names and labels: https://istio.io/latest/docs/reference/config/metrics/ and
https://linkerd.io/2/reference/proxy-metrics/
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from meshbdd.intents import ServiceRef
from meshbdd.sidecars import LINKERD, Sidecars
from meshbdd.telemetry.prometheus import selectors
from meshbdd.telemetry.proxies import Object, Proxies

_REQUESTS, _RESPONSES = "istio_requests", "response"
_UNREACHED = {"FI", "NC", "NFCF", "NR", "RL", "UAEX", "UF", "UH", "UO"}
"""Response flags of requests that a proxy answered itself: Envoy's access log documentation, %RESPONSE_FLAGS%."""


@dataclass(frozen=True, slots=True)
class Requests:
    """A line of ``istio_requests_total``, or of Linkerd's ``response_total``, as far as claims ask.

    Attributes:
        pod: Whose proxy counted.
        reporter: ``source`` or ``destination``.
        source: The caller as its mesh names it, ``unknown`` where it has no proxy: workload and namespace on Istio,
            service account and namespace on Linkerd.
        security: ``mutual_tls``, ``none`` or ``unknown``; only the destination knows.
        status: HTTP status.
        reached: Whether it got to an endpoint, as far as the proxy tells.
        service: The name of the Service that it is counted by: of several that select the pod, its proxy names one.
    """

    pod: str
    reporter: str
    source: tuple[str, str]
    security: str
    status: str
    reached: bool = True
    service: str = ""


def read(pod: str, page: str, service: ServiceRef, beside: Collection[str] = ()) -> Counter[Requests]:
    """How many requests to a service a page of metrics counts, by its labels.

    Args:
        pod: Whose metrics these are.
        page: The metrics.
        service: The service.
        beside: The full names of others that select its pods: what came to these by their names is counted as well.
    """
    found: Counter[Requests] = Counter()
    for family in _families(page, _REQUESTS):
        for sample in family.samples:
            labels = sample.labels
            named = ServiceRef(
                labels.get("destination_service_name", ""), labels.get("destination_service_namespace", "")
            )
            if named != service and not (labels.get("reporter") == "destination" and named.host in beside):
                continue
            source = (labels.get("source_workload", "unknown"), labels.get("source_workload_namespace", "unknown"))
            key = Requests(
                pod,
                labels.get("reporter", ""),
                source,
                labels.get("connection_security_policy", "unknown"),
                labels.get("response_code", ""),
                not _UNREACHED & set(labels.get("response_flags", "").split(",")),
                named.name,
            )
            found[key] += int(sample.value)
    return found


def read_linkerd(pod: Object, page: str, service: ServiceRef, *, serves: bool) -> Counter[Requests]:
    """How many requests to a service the metrics of a pod count, by their labels.

    Args:
        pod: The pod.
        page: Its metrics. What came to it names no Service.
        service: The service.
        serves: Whether the pod is one of the service's: then all that came to it is counted, else what left it for there.
    """
    found: Counter[Requests] = Counter()
    name, own = str(pod["metadata"]["name"]), source_of(pod, LINKERD)
    for family in _families(page, _RESPONSES):
        for sample in family.samples:
            labels = sample.labels
            status, security = labels.get("status_code", ""), "mutual_tls" if labels.get("tls") == "true" else "none"
            if serves and labels.get("direction") == "inbound":
                source = _account(labels.get("client_id", ""))
                found[Requests(name, "destination", source, security, status)] += int(sample.value)
            elif not serves and labels.get("authority", "").partition(":")[0] == service.host:
                found[Requests(name, "source", own, "unknown", status)] += int(sample.value)
    return found


def _families(page: str, name: str) -> Iterable[Metric]:
    return (family for family in text_string_to_metric_families(_lines_of(page, name)) if family.name == name)


def may_have(page: str, selector: str) -> bool:
    """Whether a page of metrics has a series that a selector of PromQL means, as far as the page tells.

    A label that a series does not have may be one that Prometheus gives it with its target's, and so it may be meant.

    Args:
        page: The page.
        selector: A selector, without a window.
    """
    found = selectors(selector)
    if not all(metric for metric, _ in found):
        return True
    return any(
        sample.name == metric and _is_meant(sample.labels, matchers)
        for metric, matchers in found
        for family in text_string_to_metric_families(_lines_of(page, metric))
        for sample in family.samples
    )


def _lines_of(page: str, name: str) -> str:
    """The lines of a name; the parser is slow, and gets none of others but those that merely begin alike."""
    begins = (name, f"# HELP {name}", f"# TYPE {name}")
    return "".join(line for line in page.splitlines(keepends=True) if line.startswith(begins))


def _is_meant(labels: Mapping[str, str], matchers: Iterable[tuple[str, str, str]]) -> bool:
    for label, operator, value in matchers:
        if label not in labels:
            continue
        try:
            same = re.fullmatch(value, labels[label]) is not None if "~" in operator else labels[label] == value
        except re.error:
            continue  # RE2 knows it, or Prometheus has said that it does not
        if same == operator.startswith("!"):
            return False
    return True


def _account(identity: str) -> tuple[str, str]:
    """Service account and namespace of ``account.namespace.serviceaccount.identity.linkerd.cluster.local``."""
    account, _, rest = identity.partition(".")
    namespace, _, kind = rest.partition(".")
    return (account, namespace) if kind.startswith("serviceaccount.") else ("unknown", "unknown")


def source_of(pod: Object, sidecars: Sidecars) -> tuple[str, str]:
    """What a pod is called as a caller in the metrics of its mesh: see ``Requests.source``."""
    meta, namespace = pod["metadata"], str(pod["metadata"]["namespace"])
    if sidecars is LINKERD:
        return str(pod["spec"].get("serviceAccountName") or "default"), namespace
    owners = meta.get("ownerReferences") or []
    owner = str(owners[0]["name"]) if owners else str(meta["name"])
    hash_ = (meta.get("labels") or {}).get("pod-template-hash")
    return owner.removesuffix(f"-{hash_}") if hash_ else owner, namespace


def requests_to(
    proxies: Proxies, service: ServiceRef, callers: Iterable[ServiceRef] = (), beside: Collection[str] = ()
) -> Counter[Requests]:
    """What the proxies of a service, of its fault backend and of its callers have counted of requests to it so far.

    Args:
        proxies: The way to the proxies.
        service: The service.
        callers: Its callers.
        beside: The full names of other Services that select its pods: what came to these by their names is counted as well.
    """
    total: Counter[Requests] = Counter()
    port, path = proxies.sidecars.metrics
    sides = [(True, proxies.receiving(service))]
    sides += [(False, proxies.meshed(caller)) for caller in callers]
    for serves, pods in sides:
        for pod in pods:
            page = proxies.tunnel(pod, port).text(path)
            if proxies.sidecars is LINKERD:
                total += read_linkerd(pod, page, service, serves=serves)
            else:
                total += read(str(pod["metadata"]["name"]), page, service, beside)
    return total
