"""Faults at a server, and the renewal of its callers' connections: EnvoyFilters of the run's own.

A listener change reaches an open connection one answer late, so a server's fault filter is armed once for a run (its
settings come apart, ``config_discovery``) and then switched by its settings alone, which count for the next request on
every connection. Arming, and every other listener change, is followed by an epoch: a harmless change of the callers'
clusters, which makes them open new connections.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.grpc_statuses import GRPC_CODES
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.base import Stage, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.hosts import service_host
from meshbdd.mesh.istio.security import at_listeners_of
from meshbdd.mesh.markers import ClusterRenewed, FilterArmed, FilterSwitched

API = "networking.istio.io/v1alpha3"
_FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
_MANAGER = "envoy.filters.network.http_connection_manager"
PATCHES = ("spec", "configPatches")
FILTER_PREFIX = "meshbdd.fault."


def object_name(service: ServiceRef, slot: int) -> str:
    """The EnvoyFilter that arms one fault filter of a service."""
    return f"meshbdd-fault-{service.name}-{slot}"


def filter_name(service: ServiceRef, slot: int) -> str:
    """The armed filter's own name, which is also the name of its settings."""
    return f"{FILTER_PREFIX}{service.name}.{slot}"


def _patches(name: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    router = {"name": _MANAGER, "subFilter": {"name": "envoy.filters.http.router"}}
    return [
        {
            "applyTo": "HTTP_FILTER",
            "match": {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": router}}},
            "patch": {
                "operation": "INSERT_BEFORE",
                "value": {"name": name, "config_discovery": {"config_source": source, "type_urls": [_FAULT]}},
            },
        },
        {
            "applyTo": "EXTENSION_CONFIG",
            "match": {"context": "SIDECAR_INBOUND"},
            "patch": {"operation": "ADD", "value": {"name": name, "typed_config": {"@type": _FAULT, **settings}}},
        },
    ]


def arm(service: ServiceRef, slot: int, catalog: Catalog) -> Stage:
    """Arm one fault filter at the pods of a service; it does nothing yet.

    Raises:
        BadInput: no such service.
    """
    labels = catalog.labels_of(service)
    spec = {
        "workloadSelector": {"labels": dict(labels)},
        "configPatches": _patches(filter_name(service, slot), {}),
    }
    edit = _own(object_name(service, slot), service.namespace, spec)
    marker = FilterArmed(filter_name(service, slot), Where(service.namespace, labels))
    return Stage.of(edit, markers=(marker,), renewed=at_listeners_of(catalog, service))


def switch(
    service: ServiceRef,
    slot: int,
    labels: Mapping[str, str],
    fault: Fault,
    callers: tuple[str, ...],
    token: str,
    authority: str = "",
) -> Stage:
    """Switch an armed filter on.

    Args:
        service: The service.
        slot: Which of its armed filters.
        labels: Its pods' labels.
        fault: What it is to do.
        callers: SPIFFE paths (``ns/…/sa/…``) of the only callers that it is for; empty: everybody.
        token: Stands in the settings, by which a proxy shows that it holds them.
        authority: Regular expression of whom the calls ask for that it is for; empty: anybody.
    """
    patches = _patches(filter_name(service, slot), fault_settings(fault, callers, token, authority))
    edit = Edit(
        "EnvoyFilter", object_name(service, slot), service.namespace, PATCHES, lambda _now: copy.deepcopy(patches)
    )
    marker = FilterSwitched(filter_name(service, slot), token, Where(service.namespace, labels))
    return Stage.of(edit, markers=(marker,))


def fault_settings(fault: Fault, callers: tuple[str, ...], token: str, authority: str = "") -> dict[str, Any]:
    """Envoy's HTTPFault for an intent."""
    share = {"numerator": round(fault.share.value * 10_000), "denominator": "MILLION"}
    settings: dict[str, Any] = {"filter_metadata": {"meshbdd": token}}
    if fault.delay is not None:
        settings["delay"] = {"fixed_delay": f"{fault.delay.seconds:g}s", "percentage": share}
    elif fault.grpc_status is not None:
        settings["abort"] = {"grpc_status": GRPC_CODES[fault.grpc_status], "percentage": share}
    else:
        settings["abort"] = {"http_status": fault.status, "percentage": share}
    headers = _conditions(fault, callers, authority)
    return {**settings, "headers": headers} if headers else settings


def _conditions(fault: Fault, callers: tuple[str, ...], authority: str) -> list[dict[str, Any]]:
    scope = fault.scope
    found = [{"name": name.lower(), "string_match": {"exact": value}} for name, value in scope.headers.items()]
    if scope.method:
        found.append({"name": ":method", "string_match": {"exact": scope.method}})
    if scope.path:  # Envoy's :path holds the query as well
        found.append({"name": ":path", "string_match": {"safe_regex": {"regex": re.escape(scope.path) + r"(\?.*)?"}}})
    if authority:
        found.append({"name": ":authority", "string_match": {"safe_regex": {"regex": authority}}})
    if callers:
        # The server's proxy appends the identity that it verified as the last element of this header.
        who = "|".join(re.escape(caller) for caller in callers)
        regex = rf"(.*[,;])?URI=spiffe://[^/,;]+/({who})(;[^,]*)?"
        found.append({"name": "x-forwarded-client-cert", "string_match": {"safe_regex": {"regex": regex}}})
    return found


def renew(epochs: Mapping[ServiceRef, int], namespaces: tuple[str, ...], run: str) -> Stage:
    """A harmless change of the clusters by which the callers of some namespaces reach services.

    An EnvoyFilter reaches only the proxies of its own namespace, so every namespace with callers gets one.

    Args:
        epochs: Every service whose callers' connections were ever renewed in this run → how often it was.
        namespaces: Those with callers.
        run: The run's id.
    """
    told = tuple((service_host(service), f"{run}-{number}") for service, number in epochs.items())
    patches = [
        {
            "applyTo": "CLUSTER",
            "match": {"context": "SIDECAR_OUTBOUND", "cluster": {"service": host}},
            "patch": {"operation": "MERGE", "value": {"metadata": {"filter_metadata": {"meshbdd": {"epoch": epoch}}}}},
        }
        for host, epoch in told
    ]
    edits = [_own("meshbdd-epoch", namespace, {"configPatches": patches}) for namespace in namespaces]
    return Stage.of(*edits, markers=[ClusterRenewed(told, Where(namespace)) for namespace in namespaces])


def _own(name: str, namespace: str, spec: dict[str, Any]) -> Edit:
    new = {
        "apiVersion": API,
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    return Edit("EnvoyFilter", name, namespace, ("spec",), lambda _now: copy.deepcopy(spec), new)
