"""Lists over HTTP: resourceVersion rules, pages with limit and continue."""

from __future__ import annotations

import base64
import binascii
import json

from meshbdd.lab.api import errors
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError, Cause, Object
from meshbdd.lab.api.http import Request
from meshbdd.lab.api.registry import Resource

_ENCODING = "meta.k8s.io/v1"
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def parse_version(text: str | None) -> int | None:
    """A resourceVersion of a query; ``None`` for none.

    Raises:
        ApiError: 500, as a real server answers what is no number.
    """
    if not text:
        return None
    if not text.isdigit():
        raise errors.internal(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def check_version(api: Api, text: str | None) -> int | None:
    """The resourceVersion of a read.

    Raises:
        ApiError: 504 for one that lies in the future.
    """
    version = parse_version(text)
    if version is not None and version > api.store.version:
        raise errors.too_large_version(version, api.store.version)
    return version


def refuse_options(causes: list[Cause]) -> ApiError:
    """422 for list options that contradict each other."""
    return errors.invalid("ListOptions", "meta.k8s.io", "", causes)


def _forbidden(why: str, field: str = "resourceVersionMatch") -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _check_match(request: Request) -> str | None:
    match = request.one("resourceVersionMatch")
    version = request.one("resourceVersion")
    causes = []
    if match:
        if not version:
            causes.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if match not in {"Exact", "NotOlderThan"}:
            causes = [
                Cause(
                    "FieldValueNotSupported",
                    f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""',
                    "resourceVersionMatch",
                )
            ]
        elif match == "Exact" and version == "0":
            causes.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if request.one("sendInitialEvents") is not None:
        causes.append(_forbidden("sendInitialEvents is forbidden for list", "sendInitialEvents"))
    if causes:
        raise refuse_options(causes)
    return match


def _token(version: int, last: Object) -> str:
    metadata = last["metadata"]
    start = f"{metadata.get('namespace', '')}/{metadata['name']}"
    told = {"v": _ENCODING, "rv": version, "start": start}
    return base64.urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode().rstrip("=")


def _read_token(text: str) -> tuple[int, tuple[str, str]]:
    def refuse(why: str) -> ApiError:
        return errors.bad_request(f"invalid continue token: continue key is not valid: {why}")

    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise refuse("illegal base64 data at input byte 0") from None
    try:
        told = json.loads(raw.decode("latin-1"))
        encoding = told["v"]
    except (json.JSONDecodeError, KeyError, TypeError):
        first = raw[:1].decode("latin-1")
        shown = first if first.isprintable() else f"\\u{ord(first):04x}" if first else ""
        raise refuse(f"invalid character '{shown}' looking for beginning of value") from None
    if encoding != _ENCODING:
        raise refuse(f"server does not recognize this encoded version {encoding}")
    namespace, _, name = str(told.get("start", "")).partition("/")
    return int(told.get("rv", 0)), (namespace, name)


def _limit(request: Request) -> int:
    text = request.one("limit")
    if not text:
        return 0
    try:
        return max(int(text), 0)
    except ValueError:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def page(api: Api, request: Request, resource: Resource, namespace: str | None) -> tuple[list[Object], Object]:
    """The objects of one page and the metadata of the list.

    Raises:
        ApiError: 400, 410, 422, 500, 504 by the rules of list options.
    """
    match = _check_match(request)
    limit, token = _limit(request), request.one("continue")
    version = check_version(api, request.one("resourceVersion")) if not token else None
    labels, fields = request.one("labelSelector"), request.one("fieldSelector")
    after: tuple[str, str] | None = None
    at: int | None = None
    if token:
        if request.one("resourceVersion") not in {None, "", "0"}:
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        at, after = _read_token(token)
        at = None if at <= 0 else at
    elif version and (match == "Exact" or (limit and match is None)):
        at = version
    try:
        objects = api.list(resource.key, namespace, labels, fields, at)
    except ApiError as error:
        if error.code == 410 and after is not None:
            fresh = _token(-1, {"metadata": {"namespace": after[0], "name": after[1]}})
            raise errors.expired(_TOO_OLD, fresh) from None
        raise
    if after is not None:
        start = after
        objects = [obj for obj in objects if (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) > start]
    shown_version = at if at is not None else api.store.version
    metadata: Object = {"continue": "", "resourceVersion": str(shown_version)}
    if limit and len(objects) > limit:
        metadata["continue"] = _token(shown_version, objects[limit - 1])
        if not labels and not fields:
            metadata["remainingItemCount"] = len(objects) - limit
        objects = objects[:limit]
    return objects, metadata
