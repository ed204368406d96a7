"""Bodies of requests: JSON, YAML or protobuf to objects, with the complaints of Go's decoders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from meshbdd.lab.api import protobuf
from meshbdd.lab.api.errors import ApiError, Object, bad_request, internal, invalid, unsupported_media_type
from meshbdd.lab.api.registry import Resource
from meshbdd.lab.api.validation import go_kind, wrong

MEDIA_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")


class _Doubled(dict[str, Any]):
    """A JSON object that named a key twice."""

    doubled: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _Doubled(found)
    seen: set[str] = set()
    marked.doubled = tuple(dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return marked


def _doubles(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value, _Doubled):
            yield from (f'duplicate field "{path}{key}"' for key in value.doubled)
        for key, child in value.items():
            if isinstance(child, (dict, list)):
                yield from _doubles(child, f"{path}{key}.")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _doubles(child, f"{path.removesuffix('.')}[{index}].")


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: no dates, and keys are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(slots=True)
class Body:
    """A decoded body and the keys that it named twice."""

    value: Any
    problems: list[str] = field(default_factory=list)


def _go_error(error: json.JSONDecodeError, text: str) -> str:
    rest = text[error.pos :].lstrip()
    if not rest:
        return "unexpected end of JSON input"
    if error.msg.startswith("Extra data"):
        return f"invalid character '{rest[0]}' after top-level value"
    if "property name" in error.msg:
        return f"invalid character '{rest[0]}' looking for beginning of object key string"
    if "delimiter" in error.msg:
        after = "object key:value pair" if "," in error.msg else "object key"
        return f"invalid character '{rest[0]}' after {after}"
    return f"invalid character '{rest[0]}' looking for beginning of value"


class Malformed(Exception):
    """The text is no JSON or YAML; the message is Go's."""


def read_json(raw: bytes) -> Body:
    """JSON text.

    Raises:
        Malformed: When it is none.
    """
    text = raw.decode("utf-8", "replace")
    try:
        value = json.loads(text, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        raise Malformed(_go_error(error, text)) from None
    return Body(value, list(_doubles(value)))


def _yaml_problems(node: yaml.Node | None) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield f'line {key.start_mark.line + 1}: key "{key.value}" already set in map'
            seen.add(key.value)
            yield from _yaml_problems(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _yaml_problems(item)


def read_yaml(raw: bytes) -> Body:
    """YAML text (or JSON, which is YAML too).

    Raises:
        Malformed: When it is none.
    """
    text = raw.decode("utf-8", "replace")
    if text.lstrip()[:1] in {"{", "["}:
        try:
            return read_json(raw)
        except Malformed:
            pass
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = (error.problem_mark.line + 1) if error.problem_mark else 1
        problem = re.sub(r", but got.*|expected ',' or ']'.*", "", error.problem or "")
        told = problem.strip() or "did not find expected ',' or ']'"
        raise Malformed(f"yaml: line {line}: {told}") from None
    except yaml.YAMLError as error:
        raise Malformed(f"yaml: {error}") from None
    doubled = list(_yaml_problems(node))
    return Body(value, ["yaml: unmarshal errors:\n" + "\n".join(f"  {told}" for told in doubled)] if doubled else [])


def _shown(raw: bytes) -> str:
    """The body as Go's decoder quotes it in a complaint (recorded)."""
    if not raw:
        return "<empty>"
    text = raw.decode("latin-1")
    if text.lstrip().startswith("{"):
        return text if len(text) <= 30 else f"{text[:30]} ..."
    return raw.hex() if len(raw) <= 30 else f"{raw[:30].hex()} ..."


def _unrecognized(resource: Resource, why: str, raw: bytes) -> ApiError:
    message = f"the object provided is unrecognized (must be of type {resource.kind}): {why} ({_shown(raw)})"
    return bad_request(message)


_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'


def read_object(raw: bytes, content_type: str, resource: Resource, version: str) -> Body:
    """The object that a POST or PUT brings, its kind and apiVersion checked.

    Raises:
        ApiError: 400, 415, 422 in the words of a real server.
    """
    media = content_type or "application/json"
    if media not in MEDIA_TYPES:
        raise unsupported_media_type(MEDIA_TYPES)
    if media == MEDIA_TYPES[2]:
        body = Body(protobuf.read_object(raw))
    else:
        try:
            body = read_json(raw) if media == MEDIA_TYPES[0] else read_yaml(raw)
        except Malformed as error:
            why = str(error) if media != MEDIA_TYPES[0] else f"couldn't get version/kind; json parse error: {error}"
            raise _unrecognized(resource, why, raw) from None
    check_type(body, raw, resource, version)
    return body


def check_type(body: Body, raw: bytes, resource: Resource, version: str) -> None:
    """Refuse a body of another kind or version; built-in kinds may leave both out."""
    value = body.value
    if value is None:
        raise _unrecognized(resource, "Object 'Kind' is missing in 'null'", raw)
    if not isinstance(value, dict):
        why = f"json: cannot unmarshal {go_kind(value)} into Go value of type {_TYPE_META}"
        raise _unrecognized(resource, f"couldn't get version/kind; json parse error: {why}", raw)
    expected = resource.api_version(version)
    kind, api_version = value.get("kind"), value.get("apiVersion")
    if not resource.custom and not kind and not api_version:
        value["kind"], value["apiVersion"] = resource.kind, expected  # typed clients may leave them out
        return
    if not kind:
        raise _unrecognized(resource, f"Object 'Kind' is missing in '{raw.decode('utf-8', 'replace')}'", raw)
    if api_version != expected:
        if resource.custom:
            body.problems += [f'unknown field "{key}"' for key in value if key == "spec"] if api_version else []
        raise bad_request(
            f"the API version in the data ({api_version or ''}) does not match the expected API version ({expected})"
        )
    if kind != resource.kind:
        name = str((value.get("metadata") or {}).get("name", ""))
        raise invalid(str(kind), resource.group, name, [wrong("kind", kind, f"must be {resource.kind}")])


def read_patch(raw: bytes) -> Body:
    """The body of a JSON, merge or strategic patch.

    Raises:
        ApiError: 400.
    """
    try:
        return read_json(raw)
    except Malformed as error:
        raise bad_request(f"error decoding patch: {error}") from None


def read_apply(raw: bytes, resource: Resource, version: str, *, strict: bool) -> Object:
    """The configuration of a server-side apply.

    Raises:
        ApiError: 400.
    """
    try:
        body = read_yaml(raw)
    except Malformed as error:
        raise bad_request(f"error decoding YAML: error converting YAML to JSON: {error}") from None
    if body.problems and strict:
        raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {', '.join(body.problems)}")
    value = body.value if body.value is not None else {}
    if not isinstance(value, dict):
        raise bad_request(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
            f"{go_kind(value)} into Go value of type map[string]interface {{}}"
        )
    api_version, kind = value.get("apiVersion", ""), value.get("kind", "")
    if (api_version, kind) != (resource.api_version(version), resource.kind):
        raise bad_request(f"invalid object type: {api_version or '/'}, Kind={kind}")
    return value


def read_delete_options(raw: bytes, content_type: str) -> Object | None:
    """The DeleteOptions of a DELETE, if it brings a body.

    Raises:
        ApiError: 500, as a real server answers a malformed one.
    """
    if not raw.strip():
        return None
    if content_type == MEDIA_TYPES[2]:
        return protobuf.read_object(raw)
    try:
        value = (read_yaml if content_type == MEDIA_TYPES[1] else read_json)(raw).value
    except Malformed as error:
        raise internal(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(value, dict):
        raise internal("couldn't get version/kind; json parse error: json: cannot unmarshal")
    kind = value.get("kind", "DeleteOptions")
    if kind != "DeleteOptions":
        version = value.get("apiVersion", "")
        where = 'in scheme "pkg/runtime/scheme.go:100"'
        raise internal(f'no kind "{kind}" is registered for version "{version}" {where}')
    return value
