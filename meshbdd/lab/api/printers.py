"""The cells of ``kubectl get`` for built-in resources, as ``pkg/printers/internalversion`` computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from meshbdd.lab.api.errors import Object

Cells = list[Any]


def age(stamp: str | None) -> str:
    """The time since a stamp in kubectl's short form (``5s``, ``3m12s``, ``2d3h``); ``<unknown>`` without one."""
    if not stamp:
        return "<unknown>"
    try:
        then = datetime.fromisoformat(stamp)
    except ValueError:
        return "<unknown>"
    seconds = int((datetime.now(UTC) - then).total_seconds())
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y{days % 365}d"


def _age(obj: Object) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _selector(labels: Object | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def _label_selector(selector: Object | None) -> str:
    told = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for rule in (selector or {}).get("matchExpressions") or []:
        values = ",".join(rule.get("values") or [])
        told.append(f"{rule['key']} {rule['operator'].lower()} ({values})")
    return ",".join(told) or "<none>"


def _pod_status(pod: Object) -> str:
    status = pod.get("status") or {}
    reason = status.get("reason") or status.get("phase") or "Unknown"
    running = False
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if (ended and ended.get("exitCode") == 0) or (container.get("started") and _restarts_always(pod, index)):
            continue
        if ended:
            return f"Init:{ended.get('reason') or 'ExitCode:' + str(ended.get('exitCode'))}"
        if waiting and waiting.get("reason") not in {None, "", "PodInitializing"}:
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(pod['spec'].get('initContainers') or ())}"
    for container in reversed(status.get("containerStatuses") or ()):
        state = container.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif ended := state.get("terminated"):
            reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode')}"
        elif container.get("ready") and state.get("running"):
            running = True
    if reason == "Completed" and running:
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
        reason = "Running" if ready else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str(reason)


def _restarts_always(pod: Object, index: int) -> bool:
    containers = pod["spec"].get("initContainers") or []
    return index < len(containers) and containers[index].get("restartPolicy") == "Always"


def _pod(pod: Object) -> Cells:
    status = pod.get("status") or {}
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    names = {c.get("name") for c in (*sidecars, *(pod["spec"].get("containers") or ()))}
    told = [
        c for c in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        if c.get("name") in names
    ]  # fmt: skip
    restarts = sum(c.get("restartCount", 0) for c in told)
    last = max((((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or "" for c in told), default="")
    gates = pod["spec"].get("readinessGates")
    return [
        f"{sum(1 for c in told if c.get('ready'))}/{len(names)}", _pod_status(pod),
        f"{restarts} ({age(last)} ago)" if restarts and last else str(restarts), _age(pod),
        status.get("podIP") or "<none>", pod["spec"].get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>", f"0/{len(gates)}" if gates else "<none>",
    ]  # fmt: skip


def _ports(ports: Iterable[Object]) -> str:
    told = [
        f"{p['port']}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}" for p in ports
    ]
    return ",".join(told) or "<none>"


def _service(service: Object) -> Cells:
    spec = service["spec"]
    outside = spec.get("externalName") or ",".join(spec.get("externalIPs") or ()) or "<none>"
    return [
        spec.get("type", "ClusterIP"), spec.get("clusterIP") or "<none>", outside, _ports(spec.get("ports") or ()),
        _age(service), _selector(spec.get("selector")),
    ]  # fmt: skip


def _template(obj: Object) -> Cells:
    containers = obj["spec"]["template"]["spec"].get("containers") or []
    return [
        ",".join(c.get("name", "") for c in containers), ",".join(c.get("image", "") for c in containers),
        _label_selector(obj["spec"].get("selector")),
    ]  # fmt: skip


def _deployment(obj: Object) -> Cells:
    status = obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"
    return [ready, status.get("updatedReplicas", 0), status.get("availableReplicas", 0), _age(obj), *_template(obj)]


def _replicaset(obj: Object) -> Cells:
    status = obj.get("status") or {}
    counts = [obj["spec"].get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [*counts, _age(obj), *_template(obj)]


def _node(obj: Object) -> Cells:
    status = obj.get("status") or {}
    ready = next((c.get("status") for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    told = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    prefix = "node-role.kubernetes.io/"
    roles = sorted(
        label.removeprefix(prefix) for label in obj["metadata"].get("labels") or () if label.startswith(prefix)
    )
    address = next((a["address"] for a in status.get("addresses") or () if a.get("type") == "InternalIP"), "<none>")
    version = (status.get("nodeInfo") or {}).get("kubeletVersion", "")
    return [told, ",".join(roles) or "<none>", _age(obj), version, address]


def _event(obj: Object) -> Cells:
    involved = obj.get("involvedObject") or {}
    source = obj.get("source") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    count = (obj.get("series") or {}).get("count") or obj.get("count") or 1
    last = (obj.get("series") or {}).get("lastObservedTime") or obj.get("lastTimestamp") or first
    seen = age(last) if count == 1 or not first else f"{age(last)} (x{count} over {age(first)})"
    told = ", ".join(filter(None, (source.get("component") or obj.get("reportingComponent"), source.get("host"))))
    return [
        seen, obj.get("type", ""), obj.get("reason", ""),
        f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}", involved.get("fieldPath", ""), told,
        str(obj.get("message", "")).strip(), age(first), str(count), obj["metadata"]["name"],
    ]  # fmt: skip


def _endpoints(obj: Object) -> Cells:
    told = []
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            told += [f"{address['ip']}:{port['port']}" for address in subset.get("addresses") or ()]
    shown = ",".join(told[:3]) + (f" + {len(told) - 3} more..." if len(told) > 3 else "")
    return [shown or "<none>", _age(obj)]


def _slice(obj: Object) -> Cells:
    ports = ",".join(str(port.get("port", "*")) for port in obj.get("ports") or ()) or "<unset>"
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [obj.get("addressType", ""), ports, shown or "<unset>", _age(obj)]


def _job(obj: Object) -> Cells:
    status = obj.get("status") or {}
    done = next((c["type"] for c in status.get("conditions") or () if c.get("status") == "True"), "Running")
    return [done, f"{status.get('succeeded', 0)}/{obj['spec'].get('completions', 1)}", "", _age(obj)]


PRINTERS: dict[str, Callable[[Object], Cells]] = {
    "pods": _pod,
    "services": _service,
    "deployments.apps": _deployment,
    "replicasets.apps": _replicaset,
    "namespaces": lambda o: [(o.get("status") or {}).get("phase", ""), _age(o)],
    "nodes": _node,
    "events": _event,
    "configmaps": lambda o: [len(o.get("data") or ()) + len(o.get("binaryData") or ()), _age(o)],
    "secrets": lambda o: [o.get("type", ""), len(o.get("data") or ()), _age(o)],
    "serviceaccounts": lambda o: [len(o.get("secrets") or ()), _age(o)],
    "endpoints": _endpoints,
    "endpointslices.discovery.k8s.io": _slice,
    "leases.coordination.k8s.io": lambda o: [(o.get("spec") or {}).get("holderIdentity", ""), _age(o)],
    "jobs.batch": _job,
    "customresourcedefinitions.apiextensions.k8s.io": lambda o: [o["metadata"].get("creationTimestamp")],
}
"""For each resource, the cells after the name (all cells for events)."""
