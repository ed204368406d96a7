"""/api, /apis and their aggregated form; /version."""

from __future__ import annotations

import hashlib
import json

from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.http import Request, Response, answer, choose_form, encode, page_not_found, read_accept
from meshbdd.lab.api.registry import Registry, Resource

GIT_VERSION = "v1.32.13"
VERSION: Object = {
    "major": "1",
    "minor": "32",
    "gitVersion": GIT_VERSION,
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "go1.23",
    "compiler": "gc",
    "platform": "linux/amd64",
}


def _group(name: str, versions: list[str]) -> Object:
    told = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": told, "preferredVersion": told[0]}


def _scale_kind(kind: str) -> Object:
    return {"group": "autoscaling", "version": "v1"} if kind == "Scale" else {}


def _hash(resource: Resource) -> str:
    import base64  # noqa: PLC0415

    told = f"{resource.group}/{resource.storage}/{resource.kind}".encode()
    return base64.b64encode(hashlib.sha256(told).digest()[:8]).decode()


def _resources(registry: Registry, group: str, version: str) -> list[Object]:
    found: list[Object] = []
    for resource in registry.in_version(group, version):
        entry: Object = {
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": list(resource.verbs),
        }  # fmt: skip
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if resource.stored:
            entry["storageVersionHash"] = _hash(resource)
        found.append(entry)
        for name, kind, verbs in resource.subresources:
            found.append(
                {
                    "name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced,
                    **_scale_kind(kind), "kind": kind, "verbs": list(verbs),
                }
            )  # fmt: skip
    return found


def _aggregated_version(registry: Registry, group: str, version: str) -> Object:
    told: list[Object] = []
    for resource in registry.in_version(group, version):
        kind = {"group": group, "version": version, "kind": resource.kind}
        entry: Object = {
            "resource": resource.plural, "responseKind": kind,
            "scope": "Namespaced" if resource.namespaced else "Cluster", "singularResource": resource.singular,
            "verbs": list(resource.verbs),
        }  # fmt: skip
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if resource.subresources:
            entry["subresources"] = [
                {"subresource": name, "responseKind": {**kind, "kind": sub, **_scale_kind(sub)}, "verbs": list(verbs)}
                for name, sub, verbs in resource.subresources
            ]
        told.append(entry)
    return {"version": version, "resources": told, "freshness": "Current"}


def _aggregated(registry: Registry, groups: dict[str, list[str]], version: str) -> Object:
    items: list[Object] = []
    for group, versions in groups.items():
        metadata = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
        items.append({"metadata": metadata, "versions": [_aggregated_version(registry, group, v) for v in versions]})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _wants_aggregated(request: Request) -> str | None:
    for entry in read_accept(request.headers.get("accept", "")):
        if entry.params.get("as") == "APIGroupDiscoveryList" and entry.params.get("v") in {"v2", "v2beta1"}:
            return entry.params["v"]
        if entry.name in {"application/json", "*/*"} and not entry.params:
            return None
    return None


def _answer_aggregated(request: Request, told: Object, version: str) -> Response:
    etag = '"' + hashlib.sha512(json.dumps(told, sort_keys=True).encode()).hexdigest().upper() + '"'
    headers = [("cache-control", "public"), ("etag", etag), ("vary", "Accept")]
    media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    if request.headers.get("if-none-match") == etag:
        return Response(304, b"", media, headers)
    return Response(200, encode(told, request), media, headers)


def discover(registry: Registry, request: Request, parts: list[str], server: str) -> Response:
    """The answer to ``/api``, ``/apis`` and everything below without a resource.

    ``parts`` is the path, split (``["apis", "apps", "v1"]``), ``server`` is ``host:port`` as clients reach it.
    """
    root, *rest = parts
    if not rest and (version := _wants_aggregated(request)):
        groups = {"": ["v1"]} if root == "api" else registry.groups()
        return _answer_aggregated(request, _aggregated(registry, groups, version), version)
    media = choose_form(request.headers.get("accept", "")).media
    groups = registry.groups()
    match root, rest:
        case "api", []:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}]
            told: Object = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
        case "apis", []:
            told = {"kind": "APIGroupList", "groups": [_group(*item) for item in groups.items()]}
            told["apiVersion"] = "v1"
        case "api", ["v1"]:
            told = {"kind": "APIResourceList", "groupVersion": "v1", "resources": _resources(registry, "", "v1")}
        case "apis", [group] if group in groups:
            told = {"kind": "APIGroup", "apiVersion": "v1", **_group(group, groups[group])}
        case "apis", [group, version] if version in groups.get(group, ()):
            told = {
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}",
                "resources": _resources(registry, group, version),
            }  # fmt: skip
        case _:
            return page_not_found()
    return answer(told, request, media=media)
