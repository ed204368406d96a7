"""CRUD over HTTP: paths to resources, verbs to calls of the Api."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from meshbdd.lab.api import decoding, errors, listing, rules
from meshbdd.lab.api.calls import Caller, DeleteOptions, Validation
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError, Object
from meshbdd.lab.api.http import Request, Response, choose_form, encode
from meshbdd.lab.api.patching import APPLY_PATCH
from meshbdd.lab.api.registry import Resource
from meshbdd.lab.api.tables import shaped, shaped_list

SUBRESOURCE_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "POST": "create", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    resource: Resource
    version: str
    namespace: str | None
    name: str | None
    subresource: str
    rest: str
    watch: bool


def split_path(path: str) -> list[str]:
    """The parts of a path; a slash at the end counts for nothing, an empty part does."""
    return path.strip("/").split("/") if path.strip("/") else []


class NoSuchPath(Exception):
    """Nothing is served there: Go's text 404."""


def find_target(api: Api, parts: list[str]) -> Target:
    """The resource, namespace, name and subresource of a path.

    Raises:
        NoSuchPath: Under a group of custom resources, or where no group is.
        ApiError: 404 under a built-in group.
    """
    if "" in parts:
        raise NoSuchPath
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    watch = rest[:1] == ["watch"]
    rest = rest[1:] if watch else rest
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    resource = api.registry.find(group, version, rest[0])
    if resource is None or (namespace and not resource.namespaced):
        builtin = any(not r.custom for r in api.registry.in_version(group, version))
        if builtin:
            raise errors.unknown_resource()
        raise NoSuchPath
    name = rest[1] if len(rest) > 1 else None
    if name and resource.namespaced and namespace is None:
        raise NoSuchPath
    subresource = rest[2] if len(rest) > 2 else ""
    return Target(resource, version, namespace, name, subresource, "/".join(rest[3:]), watch)


def verb_of(request: Request, target: Target) -> str:
    """The Kubernetes verb of a request."""
    if request.method in {"GET", "HEAD"}:
        if target.name and not target.watch:
            return "get"
        return "watch" if target.watch or request.flag("watch") else "list"
    if request.method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, "")


_OPTIONS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


def _refuse_option(verb: str, cause: errors.Cause) -> ApiError:
    return errors.invalid(_OPTIONS.get(verb, "DeleteOptions"), "meta.k8s.io", "", [cause])


def check_dry_run(values: list[str], verb: str) -> bool:
    """Whether ``dryRun`` says All.

    Raises:
        ApiError: 422 for any other value.
    """
    if not values or values == ["All"]:
        return bool(values)
    shown = ", ".join(f'"{value}"' for value in values)
    message = f'Unsupported value: []string{{{shown}}}: supported values: "All"'
    raise _refuse_option(verb, errors.Cause("FieldValueNotSupported", message, "dryRun"))


def _check_manager(request: Request, verb: str, *, applying: bool) -> None:
    told = request.one("fieldManager") or ""
    cause: errors.Cause | None = None
    if applying and not told:
        cause = errors.Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
    elif len(told) > 128:
        cause = errors.Cause("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager")
    elif strange := next(((i, c) for i, c in enumerate(told) if not c.isprintable()), None):
        quoted = told.encode("unicode_escape").decode()
        message = f'Invalid value: "{quoted}": invalid character U+{ord(strange[1]):04X} (at position {strange[0]})'
        cause = errors.Cause("FieldValueInvalid", message, "fieldManager")
    if cause:
        raise _refuse_option(verb, cause)


def caller(request: Request, target: Target, verb: str) -> Caller:
    """Who writes, from the request.

    Raises:
        ApiError: 422 for options that do not exist.
    """
    applying = request.method == "PATCH" and request.content_type == APPLY_PATCH
    _check_manager(request, verb, applying=applying)
    validation = request.one("fieldValidation") or "Warn"
    if validation not in {"Ignore", "Warn", "Strict"}:
        message = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
        raise _refuse_option(verb, errors.Cause("FieldValueNotSupported", message, "fieldValidation"))
    return Caller(
        user=request.user.name, manager=request.manager, version=target.version,
        dry_run=check_dry_run(request.query.get("dryRun", []), verb), validation=cast("Validation", validation),
    )  # fmt: skip


def warning_headers(texts: list[str]) -> list[tuple[str, str]]:
    """Each text as a ``Warning`` header."""
    return [("warning", '299 - "' + text.replace("\\", "\\\\").replace('"', '\\"') + '"') for text in texts]


def give(
    request: Request, target: Target, obj: Object, status: int = 200, warnings: list[str] | None = None
) -> Response:
    """A response with one object in the form that the client wants."""
    form = choose_form(request.headers.get("accept", ""))
    if obj.get("kind") == target.resource.kind:
        obj = rules.present(target.resource, obj, target.version)
    told = shaped(target.resource, target.version, obj, form, request.one("includeObject"))
    return Response(status, encode(told, request, form.media), form.media, warning_headers(warnings or []))


def serve(api: Api, request: Request, target: Target, verb: str) -> Response:
    """Answer a request for objects (all but watches and the subresources with a protocol of their own).

    Raises:
        ApiError: What the API refuses.
    """
    choose_form(request.headers.get("accept", ""))
    match verb:
        case "list":
            return _list(api, request, target)
        case "get":
            listing.check_version(api, request.one("resourceVersion"))
            return give(request, target, api.get(target.resource.key, target.name or "", target.namespace))
        case "create":
            return _create(api, request, target)
        case "update":
            return _update(api, request, target)
        case "patch":
            return _patch(api, request, target)
        case "delete" | "deletecollection":
            return _delete(api, request, target, verb)
        case _:
            raise errors.method_not_allowed("", target.resource.plural, target.resource.group)


def _list(api: Api, request: Request, target: Target) -> Response:
    objects, metadata = listing.page(api, request, target.resource, target.namespace)
    form = choose_form(request.headers.get("accept", ""))
    shown = [rules.present(target.resource, obj, target.version) for obj in objects]
    told = shaped_list(target.resource, target.version, shown, metadata, form, request.one("includeObject"))
    return Response(200, encode(told, request, form.media), form.media)


def _create(api: Api, request: Request, target: Target) -> Response:
    if target.resource.namespaced and target.namespace is None:
        raise NoSuchPath
    by = caller(request, target, "create")
    body = decoding.read_object(request.body, request.content_type, target.resource, target.version)
    by.problems = body.problems
    made = api.create(target.resource.key, body.value, target.namespace, by=by)
    return give(request, target, made, 201, by.warnings)


def _need_name(target: Target) -> str:
    if not target.name and not target.resource.custom:
        message = "the server does not allow this method on the requested resource"
        raise ApiError(405, "MethodNotAllowed", message, {})
    if not target.name:
        raise errors.bad_request("name must be provided")
    return target.name


def _update(api: Api, request: Request, target: Target) -> Response:
    name = _need_name(target)
    by = caller(request, target, "update")
    body = decoding.read_object(request.body, request.content_type, target.resource, target.version)
    by.problems = body.problems
    given = (body.value.get("metadata") or {}).get("name") if isinstance(body.value.get("metadata"), dict) else None
    if not given:
        raise errors.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if given != name:
        raise errors.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
    made = api.update(target.resource.key, body.value, target.namespace, by=by, subresource=target.subresource)
    return give(request, target, made, 200, by.warnings)


def _patch(api: Api, request: Request, target: Target) -> Response:
    name = _need_name(target)
    kind = request.content_type
    if kind not in api.patch_kinds(target.resource):
        raise errors.unsupported_media_type(api.patch_kinds(target.resource))
    by = caller(request, target, "patch")
    key = target.resource.key
    if kind != APPLY_PATCH:
        body = decoding.read_patch(request.body)
        by.problems = body.problems
        made = api.patch(key, name, body.value, kind, target.namespace, by=by, subresource=target.subresource)
        return give(request, target, made, 200, by.warnings)
    config = decoding.read_apply(request.body, target.resource, target.version, strict=by.validation == "Strict")
    metadata = config.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    if metadata.setdefault("name", name) != name:
        raise errors.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )
    known = api.find(key, name, target.namespace) is not None
    config = {**config, "metadata": metadata}
    made = api.apply(key, config, target.namespace, by=by, force=request.flag("force"), subresource=target.subresource)
    return give(request, target, made, 200 if known else 201, by.warnings)


def _delete_options(request: Request) -> tuple[DeleteOptions, list[str]]:
    body = decoding.read_delete_options(request.body, request.content_type)
    orphan: Any = None
    if body is not None:  # recorded: a body makes the server ignore the query
        conditions = body.get("preconditions") or {}
        orphan = body.get("orphanDependents")
        policy, dry = body.get("propagationPolicy"), list(body.get("dryRun") or [])
        grace = body.get("gracePeriodSeconds")
        options = DeleteOptions(conditions.get("uid"), conditions.get("resourceVersion"), policy, grace)
    else:
        policy, dry = request.one("propagationPolicy"), request.query.get("dryRun", [])
        seconds = request.one("gracePeriodSeconds")
        if request.one("orphanDependents"):
            orphan = request.flag("orphanDependents")
        grace = int(seconds) if seconds and seconds.lstrip("-").isdigit() else None
        options = DeleteOptions(propagation=policy, grace_seconds=grace)
    if policy is not None and orphan is not None:
        message = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise _refuse_option("delete", errors.Cause("FieldValueInvalid", message, "propagationPolicy"))
    if policy not in {None, "Foreground", "Background", "Orphan"}:
        message = f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
        raise _refuse_option("delete", errors.Cause("FieldValueNotSupported", message, "propagationPolicy"))
    if orphan:
        options = DeleteOptions(options.uid, options.resource_version, "Orphan", options.grace_seconds)
    return options, dry


def _delete(api: Api, request: Request, target: Target, verb: str) -> Response:
    resource = target.resource
    if verb == "deletecollection" and resource.namespaced and target.namespace is None:
        raise NoSuchPath
    options, dry = _delete_options(request)
    by = Caller(request.user.name, request.manager, target.version, check_dry_run(dry, verb))
    before = str(api.store.version)
    if verb == "deletecollection":
        labels, fields = request.one("labelSelector"), request.one("fieldSelector")
        gone = api.delete_collection(resource.key, target.namespace, labels, fields, options=options, by=by)
        shown = [rules.present(resource, obj, target.version) for obj in gone]
        form = choose_form(request.headers.get("accept", ""))
        metadata = {"continue": "", "resourceVersion": before}
        told = shaped_list(resource, target.version, shown, metadata, form, request.one("includeObject"))
        return Response(200, encode(told, request, form.media), form.media)
    deleted = api.delete(resource.key, target.name or "", target.namespace, options=options, by=by)
    if not deleted.gone or resource.key == "pods":  # pods give their last state: their strategy returns deleted objects
        return give(request, target, deleted.object, 200, by.warnings)
    details: Object = {"name": target.name}
    if resource.group:
        details["group"] = resource.group
    details |= {"kind": resource.plural, "uid": deleted.object["metadata"]["uid"]}
    told = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return give(request, target, told, 200, by.warnings)
