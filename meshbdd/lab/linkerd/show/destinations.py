"""Endpoints and profiles: linkerd2-proxy-api ``destination.proto``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.lab.admission.gateway import METHODS
from meshbdd.lab.linkerd.model import Resource
from meshbdd.lab.linkerd.objects import label_of
from meshbdd.lab.linkerd.read.destinations import WHOLE_WEIGHT, Place, Profile, ProfileRoute
from meshbdd.lab.linkerd.show.common import Json, duration, meta

INBOUND_PORT = 4143


def endpoints(name: str, namespace: str, places: tuple[Place, ...]) -> list[Json]:
    """The first update of a Get stream."""
    addresses = [_endpoint(place, zone_locality=True) for place in places]
    return [{"add": {"addrs": addresses, "metric_labels": {"namespace": namespace, "service": name}}}]


def _endpoint(place: Place, *, zone_locality: bool) -> Json:
    labels = {"pod": place.pod, "serviceaccount": place.service_account, "zone": ""}
    if zone_locality:
        labels["zone_locality"] = "unknown"
    else:
        labels["namespace"] = place.namespace
    made: Json = {
        "addr": {"ip": place.address, "port": place.port},
        "weight": WHOLE_WEIGHT,
        "metric_labels": labels,
    }
    if place.owner:
        kind, owner = place.owner
        labels[label_of(kind)] = owner
    if place.template_hash:
        labels["pod_template_hash"] = place.template_hash
    if place.control_plane:
        labels["control_plane_ns"] = place.control_plane
    if place.identity is not None:
        name = {"name": place.identity}
        made["tls_identity"] = {"dns_like_identity": name, "server_name": name}
    if place.hinted:
        made["protocol_hint"] = (
            {"opaque": {}, "opaque_transport": {"inbound_port": INBOUND_PORT}} if place.opaque else {"h2": {}}
        )
    return made


def profile(found: Profile, domain: str) -> Json:
    """The first update of a GetProfile stream."""
    made: Json = {
        "fully_qualified_name": "",
        "opaque_protocol": found.opaque,
        "routes": [_route(route) for route in found.routes],
        "dst_overrides": [{"authority": authority, "weight": weight} for authority, weight in found.overrides],
    }
    if found.budget is not None:
        made["retry_budget"] = {
            "retry_ratio": found.budget.ratio,
            "min_retries_per_second": found.budget.per_second,
            **({"ttl": duration(found.budget.ttl)} if found.budget.ttl else {}),
        }
    if found.service is not None:
        namespace, name = found.service
        group, kind = ("linkerd.io", "ServiceProfile" if found.name else "")
        made["fully_qualified_name"] = f"{name}.{namespace}.svc.{domain}"
        made["parent_ref"] = meta(Resource("core", "Service", name, namespace, found.port))
        made["profile_ref"] = meta(Resource(group, kind, found.name, found.namespace))
    if found.endpoint is not None:
        made["endpoint"] = _endpoint(found.endpoint, zone_locality=False)
    return made


def _route(route: ProfileRoute) -> Json:
    made: Json = {
        "condition": condition(route.condition),
        "is_retryable": route.retryable,
        "metrics_labels": {"route": route.name},
        "response_classes": [
            {"condition": _response(entry["condition"]), "is_failure": bool(entry.get("isFailure"))}
            for entry in route.responses
        ],
    }
    if route.timeout is not None:
        made["timeout"] = duration(route.timeout)
    return made


def condition(said: Mapping[str, Any]) -> Json:
    """A request match; several fields in one condition must all hold."""
    found: list[Json] = [
        {kind: {"matches": [condition(entry) for entry in said[kind]]}}
        for kind in ("all", "any")
        if said.get(kind) is not None
    ]
    if said.get("method"):
        method = said["method"].upper()
        found.append({"method": {"registered" if method in METHODS else "unregistered": method}})
    if said.get("not") is not None:
        found.append({"not": condition(said["not"])})
    if said.get("pathRegex"):
        found.append({"path": {"regex": said["pathRegex"]}})
    return found[0] if len(found) == 1 else {"all": {"matches": found}}


def _response(said: Mapping[str, Any]) -> Json:
    found: list[Json] = [
        {kind: {"matches": [_response(entry) for entry in said[kind]]}}
        for kind in ("all", "any")
        if said.get(kind) is not None
    ]
    if said.get("status") is not None:
        found.append({"status": {"min": said["status"].get("min") or 0, "max": said["status"].get("max") or 0}})
    if said.get("not") is not None:
        found.append({"not": _response(said["not"])})
    return found[0] if len(found) == 1 else {"all": {"matches": found}}
