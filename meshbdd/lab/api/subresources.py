"""``pods/log``, ``pods|services/proxy``, ``pods/eviction`` and ``pods/binding``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlencode

from meshbdd.lab.api import decoding, errors
from meshbdd.lab.api.backend import LogOptions, PodBackend
from meshbdd.lab.api.calls import Caller, DeleteOptions
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError, Object
from meshbdd.lab.api.http import Request, Response, answer
from meshbdd.lab.api.rest import Target

_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "authorization", "content-length",
}  # fmt: skip


def _number(request: Request, name: str) -> int | None:
    text = request.one(name)
    return int(text) if text and text.isdigit() else None


def _container(request: Request, pod: Object) -> str:
    spec, name = pod["spec"], pod["metadata"]["name"]
    plain = [container["name"] for container in spec.get("containers") or ()]
    init = [container["name"] for container in spec.get("initContainers") or ()]
    wanted = request.one("container")
    if wanted:
        if wanted not in (*plain, *init):
            raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(plain) == 1 and not init:
        return str(plain[0])
    choices = f"choose one of: [{' '.join(plain)}]" + (
        f" or one of the init containers: [{' '.join(init)}]" if init else ""
    )
    raise errors.bad_request(f"a container name must be specified for pod {name}, {choices}")


async def _limited(chunks: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    left = limit
    async for chunk in chunks:
        if left is None:
            yield chunk
            continue
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


async def _from_first(first: bytes | None, chunks: AsyncIterator[bytes], request: Request) -> AsyncIterator[bytes]:
    if first is None:
        return
    yield first
    gone = asyncio.create_task(_until_gone(request))
    try:
        while True:
            step = asyncio.ensure_future(anext(chunks, None))
            done, _ = await asyncio.wait({step, gone}, return_when=asyncio.FIRST_COMPLETED)
            if step not in done:
                step.cancel()
                return
            chunk = step.result()
            if chunk is None:
                return
            yield chunk
    finally:
        gone.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def serve_log(api: Api, backend: PodBackend, request: Request, target: Target) -> Response:
    """The log of a container as plain text.

    Raises:
        ApiError: 400 for an unknown container or one without a log yet, 404 for an unknown pod.
    """
    pod = api.get("pods", target.name or "", target.namespace)
    container = _container(request, pod)
    options = LogOptions(
        follow=request.flag("follow"), tail_lines=_number(request, "tailLines"),
        since_seconds=_number(request, "sinceSeconds"), timestamps=request.flag("timestamps"),
        previous=request.flag("previous"),
    )  # fmt: skip
    chunks = backend.logs(target.namespace or "", target.name or "", container, options)
    limited = _limited(chunks, _number(request, "limitBytes"))
    if options.follow:  # headers go out at once: there may be nothing to read for long
        return Response(200, _from_first(b"", limited, request), "text/plain")
    text = b"".join([chunk async for chunk in limited])
    return Response(200, text, "text/plain")


def _service_pod(api: Api, namespace: str, service: Object, port: str) -> tuple[str, int]:
    """A ready pod behind the service and its port.

    Raises:
        ApiError: 503, when there is none.
    """
    name, ports = service["metadata"]["name"], service["spec"].get("ports") or []
    chosen = next(
        (p for p in ports if port in {str(p.get("port")), p.get("name")} or (not port and len(ports) == 1)), None
    )
    if chosen is None:
        raise ApiError(503, "ServiceUnavailable", f'no service port "{port}" found for service "{name}"')
    for found in api.list("endpoints", namespace, field_selector=f"metadata.name={name}"):
        for subset in found.get("subsets") or ():
            numbers = [p["port"] for p in subset.get("ports") or () if p.get("name", "") == chosen.get("name", "")]
            for address in subset.get("addresses") or ():
                reference = address.get("targetRef") or {}
                if numbers and reference.get("kind") == "Pod":
                    return str(reference["name"]), int(numbers[0])
    raise ApiError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')


def _place(api: Api, target: Target) -> tuple[str, int]:
    """The pod and port that ``[scheme:]name[:port]`` means."""
    told = (target.name or "").split(":")
    name, port = told if len(told) == 2 else (told[1], told[2]) if len(told) == 3 else (told[0], "")
    namespace = target.namespace or ""
    if target.resource.key == "services":
        return _service_pod(api, namespace, api.get("services", name, namespace), port)
    pod = api.get("pods", name, namespace)
    if port.isdigit():
        return name, int(port)
    ports = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
    chosen = next((p for p in ports if not port or p.get("name") == port), None)
    return name, int(chosen["containerPort"]) if chosen else 80


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[str, str]]]:
    status = int((await reader.readline()).split()[1])
    headers: list[tuple[str, str]] = []
    while (line := await reader.readline()) not in {b"\r\n", b"\n", b""}:
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.strip().lower(), value.strip()))
    return status, headers


async def _body(
    reader: asyncio.StreamReader, headers: dict[str, str], writer: asyncio.StreamWriter
) -> AsyncIterator[bytes]:
    try:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
                yield await reader.readexactly(size)
                await reader.readline()
        elif "content-length" in headers:
            left = int(headers["content-length"])
            while left and (chunk := await reader.read(min(left, 65536))):
                left -= len(chunk)
                yield chunk
        else:
            while chunk := await reader.read(65536):
                yield chunk
    finally:
        writer.close()


async def serve_proxy(api: Api, backend: PodBackend, request: Request, target: Target) -> Response:
    """Forward the request to a port of a pod, or of a pod behind a service.

    Raises:
        ApiError: 404, 503.
    """
    pod, port = _place(api, target)
    try:
        reader, writer = await backend.connect(target.namespace or "", pod, port)
    except OSError as error:
        raise ApiError(503, "ServiceUnavailable", f"error trying to reach service: {error}") from None
    query = urlencode(request.query, doseq=True)
    path = f"/{target.rest}" + (f"?{query}" if query else "")
    headers = [(n, v) for n, v in request.headers.items() if n not in _HOP_BY_HOP]
    lines = [f"{request.method} {path} HTTP/1.1", f"host: {pod}:{port}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if request.body or request.method in {"POST", "PUT", "PATCH"}:
        lines.append(f"content-length: {len(request.body)}")
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + request.body)
    try:
        await writer.drain()
        status, answered = await _read_head(reader)
    except (OSError, IndexError, ValueError) as error:
        writer.close()
        raise ApiError(503, "ServiceUnavailable", f"error trying to reach service: {error}") from None
    known = dict(answered)
    kept = [(n, v) for n, v in answered if n not in _HOP_BY_HOP | {"content-type"}]
    media = known.get("content-type", "text/plain")
    if request.method == "HEAD" or status in {204, 304}:
        writer.close()
        return Response(status, b"", media, kept)
    return Response(status, _body(reader, known, writer), media, kept)


def serve_eviction(api: Api, request: Request, target: Target) -> Response:
    """Evict: delete the pod with the options of the body."""
    body = decoding.read_patch(request.body).value
    options = body.get("deleteOptions") or {}
    grace = DeleteOptions(grace_seconds=options.get("gracePeriodSeconds"))
    by = Caller(request.user.name, request.manager)
    api.delete("pods", target.name or "", target.namespace, options=grace, by=by)
    return answer(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, request, 201
    )


def serve_binding(api: Api, request: Request, target: Target) -> Response:
    """Bind the pod to a node."""
    body = decoding.read_patch(request.body).value
    node = (body.get("target") or {}).get("name")
    by = Caller(request.user.name, request.manager)
    api.patch("pods", target.name or "", {"spec": {"nodeName": node}}, namespace=target.namespace, by=by)
    return answer(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, request, 201
    )
