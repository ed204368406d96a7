"""Who may speak to whom, and how: PeerAuthentication and AuthorizationPolicy."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.intents import Access, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.base import Marker, Object, Stage, Where
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE
from meshbdd.mesh.markers import PolicyHeld, TransportTaken

API = "security.istio.io/v1"
MODES = {TlsMode.STRICT: "STRICT", TlsMode.PERMISSIVE: "PERMISSIVE", TlsMode.DISABLED: "DISABLE"}
TRANSPORTS = {
    "STRICT": frozenset({"tls"}),
    "PERMISSIVE": frozenset({"tls", "raw_buffer"}),
    "DISABLE": frozenset({"raw_buffer"}),
}
"""What the inbound chains of a port take in each mode: pilot's ``filterchain_options.go``."""


def services_of(catalog: Catalog, namespace: str, labels: Mapping[str, str] | None = None) -> tuple[ServiceRef, ...]:
    """The Services of a namespace that select a pod with these labels (any meshed pod where ``None``)."""
    found = []
    for service in catalog.all("Service", namespace):
        wanted = service["spec"].get("selector")
        if not wanted:
            continue
        pods = catalog.pods(wanted, namespace)
        if any(_meshed(pod) and selected(labels or {}, pod["metadata"].get("labels") or {}) for pod in pods):
            found.append(ServiceRef(service["metadata"]["name"], namespace))
    return tuple(found)


def at_listeners_of(catalog: Catalog, service: ServiceRef) -> tuple[ServiceRef, ...]:
    """A service, and every other one that selects pods of its: a change of their listeners is one for callers of each.

    Raises:
        BadInput: no such service.
    """
    return tuple(dict.fromkeys((service, *services_of(catalog, service.namespace, catalog.labels_of(service)))))


def _meshed(pod: Mapping[str, Any]) -> bool:
    return (pod["metadata"].get("labels") or {}).get("security.istio.io/tlsMode") == "istio"


def _selector(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return (obj["spec"].get("selector") or {}).get("matchLabels") or {}


def tls_stage(catalog: Catalog, intent: MutualTls) -> Stage:
    """Set the mode for a service, or for a namespace with all exceptions that stand in it.

    Of several policies of one scope the oldest counts, so that one is changed; a more specific one is changed as well,
    or it would go on deciding for its pods.

    Raises:
        BadInput: no such service.
    """
    mode = MODES[intent.mode]
    labels = catalog.labels_of(intent.service) if intent.service else {}
    edits = _peer_edits(catalog.all("PeerAuthentication", intent.namespace), intent, labels, mode)
    services = (intent.service,) if intent.service else services_of(catalog, intent.namespace)
    renewed = at_listeners_of(catalog, intent.service) if intent.service else services
    return Stage.of(*edits, markers=tls_markers(catalog, services, mode), renewed=renewed)


def _peer_edits(policies: Sequence[Object], intent: MutualTls, labels: Mapping[str, str], mode: str) -> list[Edit]:
    def make(spec: Any) -> Any:
        made = {**(copy.deepcopy(spec) or {}), "mtls": {"mode": mode}}
        if made.get("portLevelMtls"):
            made["portLevelMtls"] = {port: {"mode": mode} for port in made["portLevelMtls"]}
        return made

    if intent.service is None:
        found = [p for p in policies if _selector(p)]
        general = sorted((p for p in policies if not _selector(p)), key=_age)[:1]
        name, new_spec = "default", make(None)
    else:
        found = []
        general = sorted((p for p in policies if _selector(p) and selected(_selector(p), labels)), key=_age)[:1]
        name, new_spec = f"meshbdd-{intent.service.name}", make({"selector": {"matchLabels": dict(labels)}})
    edits = [
        Edit("PeerAuthentication", p["metadata"]["name"], intent.namespace, ("spec",), make) for p in [*general, *found]
    ]
    if not general:
        meta = {"name": name, "namespace": intent.namespace}
        new = {"apiVersion": API, "kind": "PeerAuthentication", "metadata": meta, "spec": new_spec}
        edits.append(Edit("PeerAuthentication", name, intent.namespace, ("spec",), make, new))
    return edits


def _age(obj: Mapping[str, Any]) -> tuple[str, str]:
    return str(obj["metadata"].get("creationTimestamp", "")), obj["metadata"]["name"]


def tls_markers(catalog: Catalog, services: Iterable[ServiceRef | None], mode: str) -> list[Marker]:
    """How servers show that they take what a mode says."""
    return [
        TransportTaken(catalog.target_ports(ref), TRANSPORTS[mode], Where(ref.namespace, catalog.labels_of(ref)))
        for ref in services
        if ref is not None
    ]


def access_stage(catalog: Catalog, intent: Access, token: str) -> Stage:
    """Allow the caller; and deny everybody else by name where other policies allow somebody (they add up).

    Raises:
        BadInput: a name that does not exist, or a caller that shares its service account.
    """
    labels = catalog.labels_of(intent.service)
    accounts = catalog.service_accounts(intent.caller)
    # Istio reads cluster.local in a policy as whatever trust domain the mesh has.
    principals = [f"cluster.local/ns/{intent.caller.namespace}/sa/{account}" for account in accounts]
    allow = _policy(intent.service, f"{token}-allow", "ALLOW", labels, {"principals": principals})
    wanted = [allow]
    if _others_allow(catalog, intent.service, labels):
        wanted.append(_policy(intent.service, f"{token}-deny", "DENY", labels, {"notPrincipals": principals}))
    namespace = intent.service.namespace
    where = Where(namespace, labels)
    return Stage.of(
        *(_creation(policy) for policy in wanted),
        markers=[PolicyHeld(namespace, policy["metadata"]["name"], where) for policy in wanted],
        renewed=at_listeners_of(catalog, intent.service),
    )


def _others_allow(catalog: Catalog, service: ServiceRef, labels: Mapping[str, str]) -> bool:
    pods = catalog.pods(labels, service.namespace)
    return any(
        policy["spec"].get("action", "ALLOW") == "ALLOW"
        and any(selected(_selector(policy), pod["metadata"].get("labels") or {}) for pod in pods)
        for namespace in dict.fromkeys((service.namespace, ROOT_NAMESPACE))
        for policy in catalog.all("AuthorizationPolicy", namespace)
    )


def _policy(
    service: ServiceRef, name: str, action: str, labels: Mapping[str, str], source: Mapping[str, Any]
) -> Object:
    return {
        "apiVersion": API,
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": service.namespace},
        "spec": {
            "selector": {"matchLabels": dict(labels)},
            "action": action,
            "rules": [{"from": [{"source": dict(source)}]}],
        },
    }


def _creation(obj: Object) -> Edit:
    meta = obj["metadata"]
    return Edit(obj["kind"], meta["name"], meta["namespace"], ("spec",), lambda _now: copy.deepcopy(obj["spec"]), obj)
