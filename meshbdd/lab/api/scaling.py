"""The ``/scale`` subresource: the number of replicas, whatever the kind."""

from __future__ import annotations

from typing import Any

from meshbdd.lab.api import decoding, errors
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError, Object
from meshbdd.lab.api.http import Request, Response, answer
from meshbdd.lab.api.patching import JSON_PATCH, json_patch, merge_patch
from meshbdd.lab.api.registry import Resource
from meshbdd.lab.api.rest import Target, caller
from meshbdd.lab.api.tables import look_up


def _selector(value: Any) -> str:
    if isinstance(value, str):
        return value
    labels = (value or {}).get("matchLabels") or {}
    return ",".join(f"{key}={label}" for key, label in sorted(labels.items()))


def scale_of(resource: Resource, obj: Object, *, bare: bool = False) -> Object:
    """The Scale of an object; with ``bare``, one without the field counts as 0 replicas (it is about to be set).

    Raises:
        ApiError: 500, when the object has no number of replicas.
    """
    paths = resource.scale or {}
    wanted = look_up(obj, paths["specReplicasPath"])
    if not wanted and not bare:
        why = f'the spec replicas field "{paths["specReplicasPath"]}" does not exist'
        raise ApiError(500, "InternalError", f"Internal error occurred: {why}", {"causes": [{"message": why}]})
    now = look_up(obj, paths["statusReplicasPath"])
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": now[0] if now else 0}
    selector = look_up(obj, paths["labelSelectorPath"]) if paths.get("labelSelectorPath") else []
    if selector:
        status["selector"] = _selector(selector[0])
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {k: metadata[k] for k in kept if k in metadata},
        "spec": {"replicas": wanted[0] if wanted else 0}, "status": status,
    }  # fmt: skip


def serve_scale(api: Api, request: Request, target: Target) -> Response:
    """GET, PUT and PATCH of ``/scale``.

    Raises:
        ApiError: What the API refuses; 405 for another method.
    """
    resource, name = target.resource, target.name or ""
    obj = api.get(resource.key, name, target.namespace)
    if request.method == "GET":
        return answer(scale_of(resource, obj), request)
    if request.method not in {"PUT", "PATCH"}:
        raise errors.method_not_allowed(request.method.lower(), resource.plural, resource.group)
    body = decoding.read_patch(request.body).value
    if request.method == "PATCH":
        old = scale_of(resource, obj, bare=True)
        body = json_patch(old, body) if request.content_type == JSON_PATCH else merge_patch(old, body)
    replicas = (body.get("spec") or {}).get("replicas", 0)
    patch: Any = replicas
    for step in reversed((resource.scale or {})["specReplicasPath"].strip(".").split(".")):
        patch = {step: patch}
    version = (body.get("metadata") or {}).get("resourceVersion")
    if version:
        patch = {**patch, "metadata": {"resourceVersion": version}}
    by = caller(request, target, "update")
    made = api.patch(resource.key, name, patch, namespace=target.namespace, by=by)
    return answer(scale_of(resource, made), request)
