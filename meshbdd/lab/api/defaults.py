"""Defaults and rules of the built-in resources, as far as the lab and its users lean on them.

Values from Kubernetes v1.32 (``pkg/apis/*/v1/defaults.go``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshbdd.lab.api.errors import Cause, Object
from meshbdd.lab.api.selectors import matches_selector
from meshbdd.lab.api.validation import immutable, required, wrong

ClusterIp = Callable[[Object], str]
"""Gives a new Service its address."""


def _pod_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        _container(container)


def _container(container: Object) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    image = str(container.get("image", ""))
    tag = image.rpartition("/")[2]
    container.setdefault("imagePullPolicy", "Always" if ":" not in tag or tag.endswith(":latest") else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            for field, value in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                probe.setdefault(field, value)
            if http := probe.get("httpGet"):
                http.setdefault("path", "/")
                http.setdefault("scheme", "HTTP")


def _pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    _pod_spec(spec)
    spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("enableServiceLinks", True)
    if "status" not in obj:
        obj["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


def _workload(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("replicas") is None:  # a field that is left empty is one that is not there
        spec["replicas"] = 1
    _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _deployment(obj: Object) -> None:
    _workload(obj)
    spec = obj["spec"]
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def _service(obj: Object, cluster_ip: ClusterIp, old: Object | None) -> None:
    spec = obj.setdefault("spec", {})
    before = (old or {}).get("spec") or {}
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if not spec.get("clusterIP"):
            spec["clusterIP"] = before.get("clusterIP") or cluster_ip(obj)
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if "status" not in obj:
        obj["status"] = {"loadBalancer": {}}


def _namespace(obj: Object) -> None:
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
    if "status" not in obj:
        obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        obj["status"] = {"phase": "Active"}


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    _string_data(obj)


def _string_data(obj: Object) -> None:
    import base64  # noqa: PLC0415

    for key, value in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(str(value).encode()).decode()


def _crd(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("conversion", {"strategy": "None"})
    names = spec.setdefault("names", {})
    if names.get("kind"):
        names.setdefault("singular", str(names["kind"]).lower())
        names.setdefault("listKind", f"{names['kind']}List")


def fill_in(key: str, obj: Object, cluster_ip: ClusterIp, old: Object | None) -> None:
    """Complete an object of a built-in resource, in place; ``old`` is what it replaces."""
    plain: dict[str, Callable[[Object], None]] = {
        "pods": _pod,
        "deployments.apps": _deployment,
        "replicasets.apps": _workload,
        "namespaces": _namespace,
        "secrets": _secret,
        "customresourcedefinitions.apiextensions.k8s.io": _crd,
    }
    if key == "services":
        _service(obj, cluster_ip, old)
    elif fill := plain.get(key):
        fill(obj)


def _workload_causes(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    selector = spec.get("selector")
    causes: list[Cause] = []
    if not selector:
        return [required("spec.selector")]
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not matches_selector(selector, labels):
        causes.append(wrong("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    if old and old["spec"].get("selector") != selector:
        causes.append(immutable("spec.selector", selector))
    causes += _container_causes(spec["template"]["spec"], "spec.template.spec")
    return causes


def _container_causes(spec: Object, path: str) -> list[Cause]:
    containers = spec.get("containers")
    if not containers:
        return [required(f"{path}.containers")]
    causes = []
    for index, container in enumerate(containers):
        causes += [required(f"{path}.containers[{index}].{f}") for f in ("name", "image") if not container.get(f)]
    return causes


def _service_causes(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    causes = []
    if not spec.get("ports") and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    for index, port in enumerate(spec.get("ports") or ()):
        number: Any = port.get("port")
        if not isinstance(number, int) or not 0 < number < 65536:
            causes.append(wrong(f"spec.ports[{index}].port", number, "must be between 1 and 65535, inclusive"))
        if len(spec["ports"]) > 1 and not port.get("name"):
            causes.append(required(f"spec.ports[{index}].name"))
    if old and (before := old["spec"].get("clusterIP")) and before != spec.get("clusterIP") != "":
        causes.append(immutable("spec.clusterIPs[0]", spec.get("clusterIPs")))
    return causes


def _crd_causes(obj: Object) -> list[Cause]:
    spec, name = obj["spec"], obj["metadata"]["name"]
    names = spec.get("names") or {}
    causes = [required(f"spec.names.{field}") for field in ("plural", "kind") if not names.get(field)]
    if not causes and name != f"{names['plural']}.{spec.get('group')}":
        causes.append(wrong("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if not spec.get("versions"):
        causes.append(required("spec.versions"))
    elif sum(1 for version in spec["versions"] if version.get("storage")) != 1:
        causes.append(
            wrong("spec.versions", spec["versions"], "must have exactly one version marked as storage version")
        )
    if spec.get("scope") not in {"Namespaced", "Cluster"}:
        causes.append(required("spec.scope"))
    return causes


def causes(key: str, obj: Object, old: Object | None) -> list[Cause]:
    """How an object of a built-in resource breaks the rules of its kind; ``old`` is what it replaces."""
    match key:
        case "deployments.apps" | "replicasets.apps":
            return _workload_causes(obj, old)
        case "pods":
            return _container_causes(obj["spec"], "spec")
        case "services":
            return _service_causes(obj, old)
        case "customresourcedefinitions.apiextensions.k8s.io":
            return _crd_causes(obj)
        case _:
            return []
