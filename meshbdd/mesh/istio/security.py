"""Who may speak to whom, and how: PeerAuthentication and AuthorizationPolicy."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.errors import BadInput
from meshbdd.intents import Access, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.base import Marker, Object, Stage, Where
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE
from meshbdd.mesh.istio.transports import TRANSPORTS, by_age, selector
from meshbdd.mesh.markers import PolicyHeld, TransportTaken

API = "security.istio.io/v1"
MODES = {TlsMode.STRICT: "STRICT", TlsMode.PERMISSIVE: "PERMISSIVE", TlsMode.DISABLED: "DISABLE"}


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


def tls_stage(catalog: Catalog, intent: MutualTls) -> Stage:
    """Set the mode for a service, or for a namespace with all exceptions that stand in it.

    Of several policies of one scope the oldest counts, so that one is changed; a more specific one is changed as well,
    or it would go on deciding for its pods.

    Raises:
        BadInput: no such service, or a policy decides for its pods and for others alike.
    """
    mode = MODES[intent.mode]
    policies = by_age(catalog.all("PeerAuthentication", intent.namespace))
    if intent.service is None:
        services: Sequence[ServiceRef] = services_of(catalog, intent.namespace)
        general = [policy for policy in policies if not selector(policy)][:1]
        decide = [*general, *(policy for policy in policies if selector(policy))]
        new = None if general else _named("default", intent.namespace, mode)
        renewed = services
    else:
        services = (intent.service,)
        decide, everywhere = _deciding(catalog, intent, intent.service, policies)
        labels = {"selector": {"matchLabels": dict(catalog.labels_of(intent.service))}}
        new = None if everywhere else _named(f"meshbdd-{intent.service.name}", intent.namespace, mode, labels)
        renewed = at_listeners_of(catalog, intent.service)
    make = partial(_with_mode, mode=mode)
    edits = [Edit("PeerAuthentication", p["metadata"]["name"], intent.namespace, ("spec",), make) for p in decide]
    if new is not None:
        edits.append(Edit("PeerAuthentication", new["metadata"]["name"], intent.namespace, ("spec",), make, new))
    return Stage.of(*edits, markers=tls_markers(catalog, services, mode), renewed=renewed)


def _with_mode(spec: Any, mode: str) -> Any:
    made = {**(copy.deepcopy(spec) or {}), "mtls": {"mode": mode}}
    if made.get("portLevelMtls"):
        made["portLevelMtls"] = {port: {"mode": mode} for port in made["portLevelMtls"]}
    return made


def _named(name: str, namespace: str, mode: str, spec: Object | None = None) -> Object:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": API, "kind": "PeerAuthentication", "metadata": meta, "spec": _with_mode(spec, mode)}


def _deciding(
    catalog: Catalog, intent: MutualTls, service: ServiceRef, policies: Sequence[Object]
) -> tuple[list[Object], bool]:
    """The policies that decide for pods of a service, and whether each of these has one.

    Raises:
        BadInput: one of them decides for pods of others, too, which would change silently.
    """
    chosen, mode = catalog.labels_of(service), MODES[intent.mode]

    def decider(labels: Mapping[str, str]) -> Object | None:
        return next((p for p in policies if selector(p) and selected(selector(p), labels)), None)

    pods = {
        pod["metadata"]["name"]: pod["metadata"].get("labels") or {} for pod in catalog.with_proxy(service.namespace)
    }
    own = [labels for labels in pods.values() if selected(chosen, labels)]
    deciders = [decider(labels) for labels in own or [chosen]]  # those of pods that are to come go by what is selected
    decide = {policy["metadata"]["name"]: policy for policy in deciders if policy is not None}
    for pod, labels in pods.items():
        other = None if selected(chosen, labels) else decider(labels)
        if other in decide.values() and other is not None and _with_mode(other["spec"], mode) != other["spec"]:
            name = other["metadata"]["name"]
            raise BadInput(
                "MB0492",
                f"«{intent}» would change more than {service}: PeerAuthentication {name} decides for its pods, and for pod {pod} as "
                f"well, which {service} does not select.",
                help=f"take the step that made {name} into another scenario"
                if name.startswith("meshbdd-")
                else f"give {name} a selector that takes pods of {service} alone",
            )
    return list(decide.values()), None not in deciders


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
        and any(selected(selector(policy), pod["metadata"].get("labels") or {}) for pod in pods)
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
