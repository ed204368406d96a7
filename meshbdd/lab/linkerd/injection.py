"""Proxy injection, as Linkerd's webhook decides it: at the creation of a pod, by annotation.

linkerd2 pkg/inject: the pod's annotation beats the namespace's; pods of the host network are left alone. The proxy is a
native sidecar, an init container that goes on running, unless an annotation asks for a plain container.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from meshbdd.lab.api.errors import Cause, invalid
from meshbdd.lab.linkerd.objects import annotations_of, owner_of
from meshbdd.lab.linkerd.ports import ADMIN_PORT, INBOUND_PORT
from meshbdd.lab.linkerd.read.destinations import CONTROL_PLANE
from meshbdd.lab.linkerd.values import Unreadable, annotation_duration
from meshbdd.pod_spec import variable
from meshbdd.sidecars import LINKERD, linkerd_injects

PROXY = "linkerd-proxy"
VERSION = "lab"
SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "cert-manager", "linkerd"})

_INJECT = LINKERD.injection.name
_NATIVE = "config.linkerd.io/proxy-enable-native-sidecar"
_ENVIRONMENT = "config.linkerd.io/proxy-additional-env"
"""Annotation of a pod or its namespace: JSON, a list of EnvVars for the proxy, the pod's before the namespace's of the same
name (since edge-26.6.1): linkerd2 pkg/k8s/labels.go."""
_SOONEST, _LATEST = "LINKERD2_PROXY_IDENTITY_MIN_REFRESH", "LINKERD2_PROXY_IDENTITY_MAX_REFRESH"
_COPIED = ("config.linkerd.io/", "config.alpha.linkerd.io/")


def wants_proxy(pod: Mapping[str, Any], namespace: Mapping[str, Any]) -> bool:
    """Whether Linkerd would inject this pod of this namespace."""
    meta = pod.get("metadata") or {}
    if (pod.get("spec") or {}).get("hostNetwork") or meta.get("namespace") in SYSTEM_NAMESPACES:
        return False
    return linkerd_injects(annotations_of(pod).get(_INJECT, ""), annotations_of(namespace).get(_INJECT, ""))


def is_meshed(pod: Mapping[str, Any]) -> bool:
    """Whether a pod carries a proxy."""
    return CONTROL_PLANE in ((pod.get("metadata") or {}).get("labels") or {})


def inject(pod: dict[str, Any], namespace: Mapping[str, Any]) -> None:
    """Give a pod its proxy and the labels and annotations that go with it, in place.

    Raises:
        ApiError: an annotation for the proxy's environment is none, or with it the proxy would not start.
    """
    meta, spec = pod.setdefault("metadata", {}), pod.setdefault("spec", {})
    environment = {**_environment(namespace, pod), **_environment(pod, pod)}
    labels, annotations = meta.setdefault("labels", {}), meta.setdefault("annotations", {})
    for name, value in annotations_of(namespace).items():
        if name.startswith(_COPIED):
            annotations.setdefault(name, value)
    labels[CONTROL_PLANE] = "linkerd"
    labels["linkerd.io/workload-ns"] = meta.get("namespace", "")
    owner = owner_of(pod)
    if owner is not None:
        labels[f"linkerd.io/proxy-{owner[0]}"] = owner[1]
    annotations.setdefault("linkerd.io/proxy-version", VERSION)
    annotations.setdefault("linkerd.io/created-by", "linkerd/proxy-injector lab")
    ready = {"httpGet": {"path": "/ready", "port": ADMIN_PORT}, "initialDelaySeconds": 2}
    proxy: dict[str, Any] = {
        "name": PROXY,
        "image": "envoyproxy/envoy:lab",
        "ports": [
            {"name": "linkerd-proxy", "containerPort": INBOUND_PORT},
            {"name": "linkerd-admin", "containerPort": ADMIN_PORT},
        ],
        "readinessProbe": ready,
        "livenessProbe": {"httpGet": {"path": "/live", "port": ADMIN_PORT}, "initialDelaySeconds": 10},
    }
    if environment:
        proxy["env"] = [{"name": name, "value": value} for name, value in environment.items()]
    if annotations.get(_NATIVE, "true") == "false":
        spec["containers"] = [proxy, *spec["containers"]]
        return
    spec["initContainers"] = [*(spec.get("initContainers") or []), {**proxy, "restartPolicy": "Always"}]


def _environment(said_by: Mapping[str, Any], pod: Mapping[str, Any]) -> dict[str, str]:
    """What a pod or its namespace adds to the proxy's environment."""
    text = annotations_of(said_by).get(_ENVIRONMENT)
    if text is None:
        return {}
    try:
        found = {str(entry["name"]): str(entry["value"]) for entry in json.loads(text)}
        for name in (_SOONEST, _LATEST):
            if name in found:
                annotation_duration(found[name])
    except (ValueError, TypeError, KeyError, Unreadable) as error:
        why = f"Invalid value: {text!r}: a JSON list of names and values, and durations with one unit: {error}"
        cause = Cause("FieldValueInvalid", why, f"metadata.annotations[{_ENVIRONMENT}]")
        raise invalid("Pod", "", (pod.get("metadata") or {}).get("name", ""), [cause]) from None
    return found


def renewed_after(pod: Mapping[str, Any], lifetime: dt.timedelta) -> dt.timedelta:
    """After what time a pod's proxy renews its certificate: at 70 % of the lifetime, within bounds.

    linkerd2-proxy linkerd/proxy/identity-client/src/certify.rs, ``refresh_in``; the bounds: linkerd/app/src/env.rs.
    """
    said = {name: variable(pod["spec"], PROXY, name) for name in (_SOONEST, _LATEST)}

    def bound(name: str, usual: dt.timedelta) -> dt.timedelta:
        return dt.timedelta(seconds=float(annotation_duration(said[name]))) if said[name] else usual

    due, soonest = lifetime * 0.7, bound(_SOONEST, dt.timedelta(seconds=10))
    return soonest if due < soonest else min(due, bound(_LATEST, dt.timedelta(hours=24)))
