"""The built-in resources that the lab serves."""

from __future__ import annotations

from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.registry import BUILTIN_VERBS, Column, Resource, Version

_GET_PATCH = ("get", "patch", "update")

AGE = Column("Age", "string", description="How long ago the object was created.")
NAME = Column(
    "Name",
    "string",
    format="name",
    description="Name must be unique within a namespace. Is required when creating resources, although some resources "
    "may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for "
    "creation idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
)


def _columns(*told: str) -> tuple[Column, ...]:
    """Columns from ``Name``, ``Ready:string``, ``IP:string:1`` (name, type, priority)."""
    columns = [NAME]
    for text in told:
        name, kind, priority = (*text.split(":"), "", "")[:3]
        columns.append(Column(name, kind or "string", priority=int(priority or 0)))
    return tuple(columns)


_COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": _columns(
        "Ready", "Status", "Restarts", "Age", "IP:string:1", "Node:string:1", "Nominated Node:string:1",
        "Readiness Gates:string:1",
    ),
    "services": _columns("Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector:string:1"),
    "deployments": _columns(
        "Ready", "Up-to-date:integer", "Available:integer", "Age", "Containers:string:1", "Images:string:1",
        "Selector:string:1",
    ),
    "replicasets": _columns(
        "Desired:integer", "Current:integer", "Ready:integer", "Age", "Containers:string:1", "Images:string:1",
        "Selector:string:1",
    ),
    "namespaces": _columns("Status", "Age"),
    "nodes": _columns("Status", "Roles", "Age", "Version", "Internal-IP:string:1"),
    "events": (
        Column("Last Seen", "string"), Column("Type", "string"), Column("Reason", "string"), Column("Object", "string"),
        Column("Subobject", "string", priority=1), Column("Source", "string", priority=1), Column("Message", "string"),
        Column("First Seen", "string", priority=1), Column("Count", "string", priority=1),
        Column("Name", "string", priority=1, format="name"),
    ),
    "configmaps": _columns("Data", "Age"),
    "secrets": _columns("Type", "Data", "Age"),
    "serviceaccounts": _columns("Secrets", "Age"),
    "endpoints": _columns("Endpoints", "Age"),
    "endpointslices": _columns("AddressType", "Ports", "Endpoints", "Age"),
    "leases": _columns("Holder", "Age"),
    "jobs": _columns("Status", "Completions", "Duration", "Age"),
    "customresourcedefinitions": _columns("Created At:date"),
}  # fmt: skip


def _builtin(
    api_version: str,
    plural: str,
    kind: str,
    *,
    short: tuple[str, ...] = (),
    namespaced: bool = True,
    status: bool = False,
    generation: bool = False,
    scale: Object | None = None,
    more: tuple[tuple[str, str, tuple[str, ...]], ...] = (),
    fields: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    reviews: bool = False,
) -> Resource:
    group, _, version = api_version.rpartition("/")
    subresources = (("status", kind, _GET_PATCH),) if status else ()
    if scale:
        subresources = (*subresources, ("scale", "Scale", _GET_PATCH))
    return Resource(
        group=group, plural=plural, singular=kind.lower(), kind=kind, namespaced=namespaced,
        versions=(Version(version, columns=_COLUMNS.get(plural, (NAME, AGE))),), storage=version, short_names=short,
        categories=categories, status=status, scale=scale, generation=generation, stored=not reviews,
        subresources=(*subresources, *more), field_labels=fields,
        verbs=("create",) if reviews else BUILTIN_VERBS,
    )  # fmt: skip


_PROXY = ("create", "delete", "get", "patch", "update")
_REPLICAS: Object = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".spec.selector",
}

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_AUTHORIZATION = "authorization.k8s.io/v1"

BUILTIN: tuple[Resource, ...] = (
    _builtin(
        "v1", "namespaces", "Namespace", short=("ns",), namespaced=False, status=True, fields=("status.phase",),
        more=(("finalize", "Namespace", ("update",)),),
    ),
    _builtin(
        "v1", "pods", "Pod", short=("po",), status=True, categories=("all",),
        fields=("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"),
        more=(
            ("log", "Pod", ("get",)), ("portforward", "PodPortForwardOptions", ("create", "get")),
            ("proxy", "PodProxyOptions", _PROXY), ("eviction", "Eviction", ("create",)),
            ("binding", "Binding", ("create",)),
        ),
    ),
    _builtin(
        "v1", "services", "Service", short=("svc",), status=True, categories=("all",),
        fields=("spec.clusterIP", "spec.type"), more=(("proxy", "ServiceProxyOptions", _PROXY),),
    ),
    _builtin("v1", "endpoints", "Endpoints", short=("ep",)),
    _builtin("v1", "configmaps", "ConfigMap", short=("cm",)),
    _builtin("v1", "secrets", "Secret", fields=("type",)),
    _builtin("v1", "serviceaccounts", "ServiceAccount", short=("sa",), more=(("token", "TokenRequest", ("create",)),)),
    _builtin(
        "v1", "events", "Event", short=("ev",),
        fields=(*(f"involvedObject.{name}" for name in _INVOLVED), "reason", "source", "type"),
    ),
    _builtin("v1", "nodes", "Node", short=("no",), namespaced=False, status=True, fields=("spec.unschedulable",)),
    _builtin(
        "apps/v1", "deployments", "Deployment", short=("deploy",), status=True, generation=True, scale=_REPLICAS,
        categories=("all",),
    ),
    _builtin(
        "apps/v1", "replicasets", "ReplicaSet", short=("rs",), status=True, generation=True, scale=_REPLICAS,
        categories=("all",), fields=("status.replicas",),
    ),
    _builtin("batch/v1", "jobs", "Job", status=True, generation=True, categories=("all",)),
    _builtin("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", generation=True),
    _builtin("coordination.k8s.io/v1", "leases", "Lease"),
    _builtin(
        "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", short=("crd", "crds"),
        namespaced=False, status=True, generation=True, categories=("api-extensions",),
    ),
    _builtin(_AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False, reviews=True),
    _builtin(_AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False, reviews=True),
    _builtin("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False, reviews=True),
)  # fmt: skip
