"""Watches over HTTP: frames, bookmarks, the end of a stream."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator

from meshbdd.lab.api import errors, listing, rules
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError, Cause, Object
from meshbdd.lab.api.http import Form, Request, Response, choose_form, compact
from meshbdd.lab.api.rest import Target
from meshbdd.lab.api.selectors import selected
from meshbdd.lab.api.store import Event
from meshbdd.lab.api.tables import shaped
from meshbdd.lab.api.watching import Watch

# recorded: an idle watch gets a bookmark about every minute, and from 2 s before its end each second
_BOOKMARK_EVERY = 60.0
_BOOKMARK_BEFORE_END = 2.0
_LONGEST = 3600.0


def _check(request: Request) -> bool:
    """Whether what exists comes first.

    Raises:
        ApiError: 422 for options that contradict each other.
    """
    initial, match = request.one("sendInitialEvents"), request.one("resourceVersionMatch")
    causes = []
    if initial is not None and match != "NotOlderThan":
        why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(Cause("FieldValueForbidden", why, "resourceVersionMatch"))
        if match:
            why = f'Unsupported value: "{match}": supported values: "NotOlderThan"'
            causes.append(Cause("FieldValueNotSupported", why, "resourceVersionMatch"))
    if initial is None and match:
        why = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(Cause("FieldValueForbidden", why, "resourceVersionMatch"))
    if request.one("continue"):
        why = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
        causes.append(Cause("FieldValueForbidden", why, "resourceVersionMatch"))
    if causes:
        raise listing.refuse_options(causes)
    if initial is not None:
        return request.flag("sendInitialEvents")
    return request.one("resourceVersion") in {None, "", "0"}


def _seconds(request: Request) -> float:
    told = request.one("timeoutSeconds")
    try:
        return float(int(told)) if told and int(told) > 0 else _LONGEST
    except ValueError:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{told}": invalid syntax') from None


class Frames:
    """The frames of one watch."""

    def __init__(self, api: Api, request: Request, target: Target, form: Form, watch: Watch) -> None:
        self._api = api
        self._target = target
        self._form = form
        self._include = request.one("includeObject")
        self._bookmarks = request.flag("allowWatchBookmarks")
        self._watch = watch
        self._heads = True
        self._marked = listing.parse_version(request.one("resourceVersion")) or api.store.version
        self._length = _seconds(request)

    def _frame(self, kind: str, obj: Object) -> bytes:
        if kind not in {"ERROR", "BOOKMARK"}:
            obj = rules.present(self._target.resource, obj, self._target.version)
        if kind != "ERROR" and not (kind == "BOOKMARK" and self._form.shape == "Table"):
            obj = shaped(self._target.resource, self._target.version, obj, self._form, self._include, heads=self._heads)
            self._heads = False
        return compact({"type": kind, "object": obj})

    def error(self, error: ApiError) -> bytes:
        """The frame that ends a watch with an error."""
        return self._frame("ERROR", error.status())

    def bookmark(self, version: int, annotations: Object | None = None) -> bytes:
        """A frame that says how far the watch has come."""
        self._marked = version
        metadata: Object = {"resourceVersion": str(version)}
        if annotations:
            metadata["annotations"] = annotations
        resource = self._target.resource
        told = {"kind": resource.kind, "apiVersion": resource.api_version(self._target.version), "metadata": metadata}
        return self._frame("BOOKMARK", told)

    def initial_end(self) -> bytes:
        """The bookmark after what exists."""
        resource = self._target.resource
        empty = {
            "apiVersion": resource.api_version(self._target.version), "items": [], "kind": resource.collection_kind,
        }  # fmt: skip
        blueprint = base64.b64encode(compact(empty)).decode()
        annotations = {
            "k8s.io/initial-events-end": "true",
            "kubernetes.io/initial-events-list-blueprint": blueprint,
        }
        return self.bookmark(self._api.store.version, annotations)

    def _events(self) -> bytes:
        events: list[Event] = self._watch.take()
        return b"".join(self._frame(event.type, event.object) for event in events)

    async def stream(self, *, end_of_initial: bool) -> AsyncIterator[bytes]:
        """All frames until the time is over, the client goes or the server stops."""
        start = time.monotonic()
        end, next_bookmark = start + self._length, start + _BOOKMARK_EVERY
        try:
            first = self._events() + (self.initial_end() if end_of_initial else b"")
            yield first
            while not self._watch.closed and (now := time.monotonic()) < end:
                due = min(
                    next_bookmark, max(now, end - _BOOKMARK_BEFORE_END) if now < end - _BOOKMARK_BEFORE_END else now + 1
                )
                await self._watch.wait(max(0.0, min(due, end) - now))
                if frames := self._events():
                    yield frames
                elif self._bookmarks and time.monotonic() >= min(due, end):
                    next_bookmark = time.monotonic() + _BOOKMARK_EVERY
                    if self._api.store.version > self._marked:
                        yield self.bookmark(self._api.store.version)
        finally:
            self._watch.close()


def serve_watch(api: Api, request: Request, target: Target, open_watches: set[Watch]) -> Response:
    """The streaming answer to a watch; ``open_watches`` keeps it while it runs, so that a stopping server can end it.

    Raises:
        ApiError: 400, 406, 422, 500 by the rules of watch options.
    """
    form = choose_form(request.headers.get("accept", ""))
    if form.media != "application/json":
        raise errors.not_acceptable(streaming=True)
    initial = _check(request)
    version = listing.parse_version(request.one("resourceVersion")) or 0
    explicit = request.one("sendInitialEvents") is not None
    if form.shape == "Table" and explicit and request.flag("allowWatchBookmarks"):
        raise errors.not_acceptable()
    labels, fields = request.one("labelSelector"), request.one("fieldSelector")
    if target.name:
        fields = ",".join(filter(None, (fields, f"metadata.name={target.name}")))
    resource = target.resource
    watch = Watch(api.store, {resource.key: selected(resource, labels, fields)}, target.namespace)
    frames = Frames(api, request, target, form, watch)
    try:
        if initial and version > api.store.version:
            raise errors.too_large_version(version, api.store.version)
        if initial:
            watch.replay(api.list(resource.key, target.namespace, labels, fields), resource.key)
        elif version:
            watch.resume(api.store.since(resource.key, version))
    except ApiError as error:
        watch.close()
        return Response(200, _once(frames.error(error)))
    open_watches.add(watch)
    ending = initial and request.flag("allowWatchBookmarks")
    return Response(200, _kept(frames.stream(end_of_initial=ending), watch, open_watches, request))


async def _once(frame: bytes) -> AsyncIterator[bytes]:
    yield frame


async def _kept(
    stream: AsyncIterator[bytes], watch: Watch, open_watches: set[Watch], request: Request
) -> AsyncIterator[bytes]:
    async def until_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        watch.close()

    listening = asyncio.create_task(until_gone())
    try:
        async for chunk in stream:
            if chunk or not watch.closed:
                yield chunk
    finally:
        listening.cancel()
        open_watches.discard(watch)
        watch.close()
