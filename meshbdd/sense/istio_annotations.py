"""Annotations of Istio's: those that it does not have, and those on a kind where nothing reads them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from itertools import filterfalse

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding
from meshbdd.sense.inventory import Inventory
from meshbdd.sense.pods import TEMPLATES, made_by, template_of
from meshbdd.sense.reading import Object, labels_of, mapping, namespace_of, text
from meshbdd.sense.workloads import SYSTEM_NAMESPACES

_LISTED: dict[str, tuple[str, ...]] = {
    "Pod": (
        "ambient.istio.io/bypass-inbound-capture", "ambient.istio.io/dns-capture", "ambient.istio.io/redirection",
        "inject.istio.io/templates", "istio.io/reroute-virtual-interfaces", "prometheus.istio.io/merge-metrics",
        "proxy.istio.io/config", "proxy.istio.io/overrides",
        *(f"readiness.status.sidecar.istio.io/{name}" for name in (
            "applicationPorts", "failureThreshold", "initialDelaySeconds", "periodSeconds",
        )),
        *(f"sidecar.istio.io/{name}" for name in (
            "agentLogLevel", "bootstrapOverride", "componentLogLevel", "discoveryAddress", "extraStatTags", "inject",
            "interceptionMode", "logLevel", "nativeSidecar", "proxyCPU", "proxyCPULimit", "proxyImage", "proxyImageType",
            "proxyMemory", "proxyMemoryLimit", "rewriteAppHTTPProbers", "statsCompression", "statsEvictionInterval",
            "statsFlushInterval", "statsHistogramBins", "statsHistogramBuckets", "statsInclusionPrefixes",
            "statsInclusionRegexps", "statsInclusionSuffixes", "userVolume", "userVolumeMount",
        )),
        "status.sidecar.istio.io/port",
        *(f"traffic.sidecar.istio.io/{name}" for name in (
            "excludeInboundPorts", "excludeInterfaces", "excludeOutboundIPRanges", "excludeOutboundPorts",
            "includeInboundPorts", "includeOutboundIPRanges", "includeOutboundPorts", "kubevirtInterfaces",
        )),
    ),
    "Service": (
        "alpha.istio.io/canonical-serviceaccounts", "alpha.istio.io/kubernetes-serviceaccounts",
        "istio.io/use-waypoint-canary-weight", "networking.istio.io/exportTo", "networking.istio.io/traffic-distribution",
        "traffic.istio.io/nodeSelector",
    ),
    "ServiceEntry": ("istio.io/use-waypoint-canary-weight", "networking.istio.io/traffic-distribution"),
    "Namespace": (
        "istio.io/use-waypoint-canary-weight", "networking.istio.io/traffic-distribution",
        "topology.istio.io/controlPlaneClusters",
    ),
    "AuthorizationPolicy": ("istio.io/dry-run",),
    "WorkloadEntry": (
        "istio.io/autoRegistrationGroup", "istio.io/connectedAt", "istio.io/disconnectedAt", "istio.io/workloadController",
    ),
    "Gateway": (
        "ambient.istio.io/waypoint-inbound-binding", "gateway.istio.io/name-override", "gateway.istio.io/service-account",
        "networking.istio.io/service-type",
    ),
}  # fmt: skip
"""Kind → annotations that count on it, as https://istio.io/latest/docs/reference/config/annotations/ is made from:
istio/api annotation/annotations.yaml, of July 2026. kubernetes.io/ingress.class is left out: others read it, too."""
_UNLISTED: dict[str, tuple[str, ...]] = {
    "Pod": ("prometheus.istio.io/secure-port", "ambient.istio.io/xfcc-include-client-identity"),
    "ServiceEntry": ("istio.io/connect-strategy",),
    "EnvoyFilter": ("envoyfilter.istio.io/referenced-services",),
    "Gateway": ("networking.istio.io/address-type", "ambient.istio.io/xfcc-include-client-identity"),
    "WorkloadEntry": ("proxy.istio.io/health-checks-enabled",),
    "Secret": ("networking.istio.io/cluster",),
    "BackendTLSPolicy": ("istio.io/ignore-policy-attachment",),
    "XBackendTrafficPolicy": ("istio.io/ignore-policy-attachment",),
}
"""What Istio reads and does not list: istio/istio pkg/kube/inject/webhook.go, pilot/pkg/networking/core/listener_waypoint.go,
pilot/pkg/model/{service,envoyfilter}.go, pilot/pkg/model/status/workloadentry.go, pilot/pkg/config/kube/gateway/conversion.go and
backend_policies.go, istioctl/pkg/multicluster/options.go."""
_ANYWHERE = {
    "galley.istio.io/analyze-suppress", "gateway.istio.io/controller-version", "istio.io/rev", "sidecar.istio.io/status",
}  # fmt: skip
"""Those that count on every kind, and those that Istio writes itself and its analyzer, too, passes over
(istio/istio pkg/config/analysis/analyzers/maturity/maturity.go, ``AlwaysIgnoredAnnotations``)."""
_LABELS = {
    "istio.io/dataplane-mode", "istio.io/ingress-use-waypoint", "istio.io/use-waypoint", "istio.io/use-waypoint-canary",
    "istio.io/use-waypoint-canary-namespace", "istio.io/use-waypoint-namespace", "istio.io/waypoint-for",
    "networking.istio.io/enable-autoallocate-ip", "networking.istio.io/gatewayPort", "security.istio.io/tlsMode",
    "service.istio.io/canonical-name", "service.istio.io/canonical-revision", "service.istio.io/workload-name",
    "topology.istio.io/cluster", "topology.istio.io/locality", "topology.istio.io/network", "topology.istio.io/subzone",
}  # fmt: skip
"""Labels that are easily taken for annotations: istio/api label/labels.yaml."""
_OF_OTHERS = ("internal.istio.io/", "operator.istio.io/", "install.operator.istio.io/")
"""Domains in which Istio's control plane and its installer leave notes for themselves."""
_MANAGED = {"gateway.istio.io/managed", "gateway.networking.k8s.io/gateway-name"}
"""Labels of what Istio makes for a Gateway: it takes over all the annotations of the Gateway."""

_COUNTS: dict[str, set[str]] = {}
for _kind, _names in (*_LISTED.items(), *_UNLISTED.items()):
    for _name in _names:
        _COUNTS.setdefault(_name, set()).add(_kind)

_JUDGED = (
    "Namespace", "Service", "ServiceEntry", "VirtualService", "DestinationRule", "Sidecar", "EnvoyFilter", "Telemetry",
    "PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy",
)  # fmt: skip
"""Kinds whose annotations are looked at, besides pods and what makes them. Istio's analyzer looks at Namespaces, Services,
Pods and Deployments, and at no template."""


def check(world: Inventory) -> Iterator[Finding]:
    """Istio's annotations that do nothing where they are."""
    told: list[Object] = []
    for maker in filterfalse(_is_left_alone, world.makers):
        yield from _judge(maker, maker, text(maker, "kind"))
        found = list(_judge(maker, template_of(maker), "Pod"))
        told += [maker] if found else []
        yield from found
    for pod in filterfalse(_is_left_alone, world.of("Pod")):
        if not made_by(pod, told):
            yield from _judge(pod, pod, "Pod")
    for kind in _JUDGED:
        for obj in filterfalse(_is_left_alone, world.of(kind)):
            yield from _judge(obj, obj, kind)


def _is_left_alone(obj: Object) -> bool:
    home = text(obj, "metadata", "name") if text(obj, "kind") == "Namespace" else namespace_of(obj)
    return home in SYSTEM_NAMESPACES or not _MANAGED.isdisjoint(labels_of(obj))


def _judge(obj: Object, holder: Object, kind: str) -> Iterator[Finding]:
    """Judge annotations.

    Args:
        obj: What is told of.
        holder: What has the annotations: the object, or its template.
        kind: The kind of object that they end up on.
    """
    where = "" if holder is obj else " of its pods' template"
    on_pods = mapping(template_of(holder), "metadata", "annotations")
    for name in mapping(holder, "metadata", "annotations"):
        if not isinstance(name, str) or name in _ANYWHERE or not _is_istios(name):
            continue
        kinds = _COUNTS.get(name)
        if kinds is None:
            yield catalog.UNKNOWN_ANNOTATION.on(
                obj, f'annotation "{name}"{where}: Istio has none of this name, so it does nothing.', _meant(name)
            )
        elif kind not in kinds and name not in on_pods:  # tools that annotate everything leave it in both places
            counts = ", ".join(sorted(kinds))
            yield catalog.MISPLACED_ANNOTATION.on(
                obj,
                f'annotation "{name}"{where} counts on {counts}, not on {kind}: it does nothing.',
                _place(kind, kinds),
            )


def _is_istios(name: str) -> bool:
    domain, slash, _ = name.partition("/")
    return bool(slash) and (domain == "istio.io" or domain.endswith(".istio.io")) and not name.startswith(_OF_OTHERS)


def _meant(name: str) -> str | None:
    if name in _LABELS:
        return "it is a label: write it below metadata.labels"
    # Many slips are in the domain: what is behind the slash says better what was meant.
    said = name.partition("/")[2].lower()
    same = [known for known in _COUNTS if known.partition("/")[2].lower() == said]
    near = same or difflib.get_close_matches(name, _COUNTS, 1, 0.8)
    return f'did you mean "{near[0]}"?' if near else None


def _place(kind: str, kinds: Collection[str]) -> str | None:
    if "Pod" not in kinds:
        return None
    template = "spec.jobTemplate.spec.template" if kind == "CronJob" else "spec.template"
    return f"move it to {'' if kind in {*TEMPLATES, 'CronJob'} else 'the pods, that is to '}{template}.metadata.annotations"
