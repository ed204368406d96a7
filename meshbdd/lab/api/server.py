"""The API over HTTPS: authentication, routing, errors; uvicorn around it."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import uvicorn

from meshbdd.lab.api import crds, discovery, errors, protobuf, reviews, scaling
from meshbdd.lab.api.backend import NoPods, PodBackend
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.decoding import MEDIA_TYPES, read_object, read_patch
from meshbdd.lab.api.errors import ApiError, Object
from meshbdd.lab.api.http import (
    PLAIN,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    User,
    answer,
    page_not_found,
    read_query,
    refusal,
    send_response,
)
from meshbdd.lab.api.openapi import Documents
from meshbdd.lab.api.portforward import serve_portforward
from meshbdd.lab.api.rest import (
    SUBRESOURCE_VERBS,
    NoSuchPath,
    Target,
    caller,
    find_target,
    serve,
    split_path,
    verb_of,
    warning_headers,
)
from meshbdd.lab.api.store import Event
from meshbdd.lab.api.streaming import serve_watch
from meshbdd.lab.api.subresources import serve_binding, serve_eviction, serve_log, serve_proxy
from meshbdd.lab.api.tunnel import WebSocket
from meshbdd.lab.api.watching import Watch

_log = logging.getLogger(__name__)

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
ADMIN = User("kubernetes-admin", ("kubeadm:cluster-admins", "system:authenticated"))
_OPEN = ("/healthz", "/livez", "/readyz", "/version")
_LARGEST_BODY = 3 * 1024 * 1024  # kube-apiserver's limit of a request body


class Application:
    """The ASGI application.

    Args:
        tokens: Which user each bearer token stands for.
    """

    def __init__(self, api: Api, tokens: Mapping[str, User], backend: PodBackend) -> None:
        self.api = api
        self.backend = backend
        self.watches: set[Watch] = set()
        self._tokens = dict(tokens)
        self._documents = Documents(api.registry)
        api.subscribe(self._end_watches, [crds.KEY])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the ASGI server."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in scope["headers"]}
        request = Request(
            scope["method"], scope["path"], read_query(scope["query_string"]), headers, b"", ANONYMOUS, receive
        )
        try:
            request.user = self.user_of(headers)
            request.body = await _read_body(receive)
            response = await self._route(request)
        except NoSuchPath:
            response = page_not_found()
        except ApiError as error:
            response = refusal(error, request)
        except Exception:  # noqa: BLE001 - whatever is wrong in here, the client gets an answer and the server goes on
            _log.exception("%s %s failed", request.method, request.path)
            response = refusal(ApiError(500, "InternalError", "Internal error occurred: see the server's log"), request)
        await send_response(response, send, head=request.method == "HEAD")

    def user_of(self, headers: Mapping[str, str]) -> User:
        """Who sent these headers.

        Raises:
            ApiError: 401 for a token that is not known.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not scheme:
            return ANONYMOUS
        for known, user in self._tokens.items():
            if scheme.lower() == "bearer" and hmac.compare_digest(known.encode(), token.strip().encode()):
                return user
        raise ApiError(401, "Unauthorized", "Unauthorized")

    async def _route(self, request: Request) -> Response:
        parts = split_path(request.path)
        if request.user.anonymous and not request.path.startswith(_OPEN) and parts[:1] not in (["api"], ["apis"]):
            message = f'forbidden: User "{request.user.name}" cannot get path "{request.path}"'
            raise ApiError(403, "Forbidden", message, {})
        match parts:
            case []:
                return answer({"paths": self._paths()}, request)
            case ["version"]:
                return answer(discovery.VERSION, request)
            case ["healthz" | "livez" | "readyz", *rest]:
                return _health(request, parts[0], rest)
            case ["openapi", "v2"]:
                return self._documents.serve_v2(request)
            case ["openapi", "v3", *rest]:
                return self._documents.serve_v3(request, "/".join(rest))
            case ["api"] | ["apis"] | ["api", _] | ["apis", _] | ["apis", _, _]:
                self._authorise_path(request)
                return discovery.discover(self.api.registry, request, parts, request.headers.get("host", ""))
            case ["api" | "apis", *_]:
                return await self._resources(request, parts)
            case _:
                return page_not_found()

    @staticmethod
    def _authorise_path(request: Request) -> None:
        if request.user.anonymous:
            message = f'forbidden: User "{request.user.name}" cannot get path "{request.path}"'
            raise ApiError(403, "Forbidden", message, {})

    def _paths(self) -> list[str]:
        found = ["/api", "/api/v1", "/apis"]
        for group, versions in self.api.registry.groups().items():
            found += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
        return sorted([*found, "/healthz", "/livez", "/readyz", "/openapi/v2", "/openapi/v3", "/version"])

    def _authorise(self, request: Request, target: Target, verb: str) -> None:
        user = request.user
        if not user.anonymous and (not user.reads_only or verb in reviews.READING or not target.resource.stored):
            return
        resource = target.resource
        named = target.name or ""
        what = resource.plural + (f"/{target.subresource}" if target.subresource else "")
        where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
        why = f'User "{user.name}" cannot {verb} resource "{what}" in API group "{resource.group}" {where}'
        raise errors.forbidden(resource.plural, resource.group, named, why)

    async def _resources(self, request: Request, parts: list[str]) -> Response:
        target = find_target(self.api, parts)
        verb = SUBRESOURCE_VERBS.get(request.method, "") if target.subresource else verb_of(request, target)
        self._authorise(request, target, verb)
        response = await self._serve(request, target, verb)
        served = target.resource.version(target.version)
        if served and served.deprecation:
            response.headers += warning_headers([served.deprecation])
        return response

    async def _serve(self, request: Request, target: Target, verb: str) -> Response:
        if not target.resource.stored:
            body = read_object(request.body, request.content_type, target.resource, target.version).value
            told = target.resource
            return answer(reviews.review(told.kind, told.api_version(), body, request.user), request, 201)
        if target.subresource:
            return await self._subresource(request, target, verb)
        if verb == "watch":
            return serve_watch(self.api, request, target, self.watches)
        return serve(self.api, request, target, verb)

    async def _subresource(self, request: Request, target: Target, verb: str) -> Response:
        resource, name = target.resource, target.subresource
        known = {sub for sub, _, _ in resource.subresources}
        if name not in known:
            if resource.custom:
                raise errors.not_found(resource.plural, resource.group, target.name or "")
            raise errors.unknown_resource()
        verbs = next(verbs for sub, _, verbs in resource.subresources if sub == name)
        if verb not in verbs:
            raise errors.method_not_allowed(verb, resource.plural, resource.group)
        match name:
            case "status" | "finalize":
                return serve(self.api, request, target, verb)
            case "scale":
                return scaling.serve_scale(self.api, request, target)
            case "log":
                return await serve_log(self.api, self.backend, request, target)
            case "proxy":
                return await serve_proxy(self.api, self.backend, request, target)
            case "eviction":
                return serve_eviction(self.api, request, target)
            case "binding":
                return serve_binding(self.api, request, target)
            case "token":
                self.api.get(resource.key, target.name or "", target.namespace)
                told = reviews.token(target.name or "", target.namespace or "", _token_request(request))
                return answer(told, request, 201)
            case _:
                caller(request, target, verb)
                raise errors.bad_request(
                    "unable to upgrade: this server forwards ports over WebSocket, as kubectl does from 1.31 on "
                    "unless KUBECTL_PORT_FORWARD_WEBSOCKETS=false, and not over bare SPDY"
                )

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in scope["headers"]}
        await receive()  # websocket.connect
        request = Request("GET", scope["path"], read_query(scope["query_string"]), headers, b"", ANONYMOUS, receive)
        try:
            request.user = self.user_of(headers)
            target = find_target(self.api, split_path(request.path))
            self._authorise(request, target, "create" if target.subresource else verb_of(request, target))
            if target.subresource != "portforward":
                raise errors.bad_request("only pods/portforward speaks WebSocket on this server")
            self.api.get(target.resource.key, target.name or "", target.namespace)
            await serve_portforward(self.backend, request, target, scope, receive, send)
        except NoSuchPath:
            await _refuse_websocket(send, page_not_found())
        except ApiError as error:
            await _refuse_websocket(send, refusal(error, request))

    def _end_watches(self, event: Event) -> None:
        """When a CRD goes, its watches end after the DELETED of each object."""
        if event.type == "DELETED":
            name = event.object["metadata"]["name"]
            for watch in [watch for watch in self.watches if name in watch.resources]:
                asyncio.get_running_loop().call_soon(watch.close)

    def close(self) -> None:
        """End all watches, so that the server can stop."""
        for watch in list(self.watches):
            watch.close()


def _token_request(request: Request) -> Object:
    if request.content_type == MEDIA_TYPES[2]:
        return protobuf.read_object(request.body)
    body: Object = read_patch(request.body).value
    return body


async def _refuse_websocket(send: Send, response: Response) -> None:
    body = response.body if isinstance(response.body, bytes) else b""
    headers = [(b"content-type", response.content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def _read_body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > _LARGEST_BODY:
            limit = "Request entity too large: limit is 3145728"
            raise ApiError(413, "RequestEntityTooLarge", limit)
        if not message.get("more_body"):
            return b"".join(chunks)


def _health(request: Request, name: str, rest: list[str]) -> Response:
    checks = ["ping", "log", "etcd"]
    headers = [("x-content-type-options", "nosniff")]
    if rest and rest[0] not in checks:
        return page_not_found()
    if rest or "verbose" not in request.query:
        return Response(200, b"ok", PLAIN, headers)
    excluded = request.query.get("exclude", [])
    lines = [f"[+]{check} excluded: ok" if check in excluded else f"[+]{check} ok" for check in checks]
    return Response(200, ("\n".join([*lines, f"{name} check passed"]) + "\n").encode(), PLAIN, headers)


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process around us."""
        yield


class ApiServer:
    """The Kubernetes API over HTTPS on loopback.

    Args:
        api: What is served.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one (see ``port`` after ``start``).
        cert: Certificate in PEM.
        key: Its key in PEM.
        token: Bearer token of the administrator.
        backend: The pods' runtime; none unless told.
        viewer_token: Bearer token of a user who may only read; none unless told.
    """

    def __init__(
        self,
        api: Api,
        host: str,
        port: int,
        cert: Path,
        key: Path,
        token: str,
        backend: PodBackend | None = None,
        *,
        viewer_token: str | None = None,
    ) -> None:
        self.api = api
        self.host = host
        self.port = port
        self._cert = cert
        self._key = key
        tokens = {token: ADMIN}
        if viewer_token:
            tokens[viewer_token] = User("viewer", ("system:authenticated",), reads_only=True)
        self.application = Application(api, tokens, backend or NoPods())
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def url(self) -> str:
        """``https://127.0.0.1:6443``."""
        return f"https://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen; returns when clients can connect.

        Raises:
            OSError: The address is in use.
        """
        # asyncio sets TCP_NODELAY only on sockets that say IPPROTO_TCP; without it each answer waits 40 ms for an ACK
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
        self._socket = listener
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.application, http="httptools", ws=WebSocket, lifespan="off", log_config=None,
            access_log=False, server_header=False, ssl_certfile=str(self._cert), ssl_keyfile=str(self._key),
            timeout_graceful_shutdown=1, timeout_keep_alive=75, ws_ping_interval=None, ws_max_size=2**24,
        )  # fmt: skip
        self._server = _Uvicorn(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                await self._task
                raise OSError(f"the API server did not start on {self.host}:{self.port}")
            await asyncio.sleep(0.002)

    async def stop(self) -> None:
        """End watches and connections, stop listening."""
        self.application.close()
        if self._server and self._task:
            self._server.should_exit = True
            await asyncio.wait({self._task}, timeout=0.3)
            for connection in list(self._server.server_state.connections):
                # an idle client may take its time to answer the end of TLS
                if transport := getattr(connection, "transport", None):
                    transport.abort()
            await self._task
        if self._socket:
            self._socket.close()


__all__ = ["ADMIN", "ANONYMOUS", "ApiServer", "Application"]
