"""Reaching a port inside a pod through the API server (``pods/portforward``), on a connection that is kept open."""

from __future__ import annotations

import copy
import http.client
import json
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar, cast

from kubernetes import client as kubernetes_client
from kubernetes.stream import portforward

from meshbdd.cluster.client import Cluster
from meshbdd.errors import EnvironmentBroken

T = TypeVar("T")
_SECONDS = 5.0
_HANDSHAKE = re.compile(r"Handshake status (\d+)( [^-]*\w)?")
"""How the client of the WebSocket says what the API answered instead; behind it stand the answer's headers and body."""


class PodGone(EnvironmentBroken):
    """The pod is there no more."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket that is already connected."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self.sock = sock

    def connect(self) -> None:
        raise ConnectionError("the tunnel is closed")


class Tunnel:
    """HTTP to one port of one pod; opened on first use, opened anew when it broke.

    Args:
        cluster: The API.
        pod: The pod's name.
        namespace: Its namespace.
        port: A port inside the pod.
    """

    def __init__(self, cluster: Cluster, pod: str, namespace: str, port: int) -> None:
        self._cluster = cluster
        self.pod = pod
        self.namespace = namespace
        self._port = port
        self._forward: Any = None
        self._connection: _Connection | None = None

    def _open(self) -> _Connection:
        # The library alters the client while a WebSocket opens, and several threads open theirs at a time.
        core = kubernetes_client.CoreV1Api(copy.copy(self._cluster.client))
        self._forward = portforward(
            core.connect_get_namespaced_pod_portforward, self.pod, self.namespace, ports=str(self._port)
        )
        sock = self._forward.socket(self._port)
        sock.setblocking(True)
        sock.settimeout(_SECONDS)
        return _Connection(sock)

    def get(self, path: str) -> Any:
        """GET a page of JSON; an empty map where the pod has no such page (Envoy has one of filters once it was sent some).

        Raises:
            EnvironmentBroken: the pod does not answer; a ``PodGone`` where it went away.
        """
        return self._ask(path, json.loads, missing={})

    def text(self, path: str) -> str:
        """GET a page of text.

        Raises:
            EnvironmentBroken: the pod does not answer; a ``PodGone`` where it went away.
        """
        return self._ask(path, bytes.decode)

    def _ask(self, path: str, read: Callable[[bytes], T], missing: T | None = None) -> T:
        last: Exception | None = None
        for _ in range(2):
            try:
                if self._connection is None:
                    self._connection = self._open()
                self._connection.request("GET", path)
                answer = self._connection.getresponse()
                body = answer.read()
                if answer.status == HTTPStatus.NOT_FOUND and missing is not None:
                    return missing
                return read(body)
            except (OSError, http.client.HTTPException, ValueError, kubernetes_client.ApiException) as error:
                _keep_interruption(error)
                last = error
                self.close()
        refused = _HANDSHAKE.search(str(getattr(last, "reason", None) or ""))
        if refused and int(refused[1]) == HTTPStatus.NOT_FOUND:
            raise PodGone(
                "MB0315", f"Pod {self.pod}.{self.namespace} went away.", help="keep the pods while a scenario runs"
            )
        why = f"{refused[1]}{refused[2] or ''}" if refused else _words_of(last)
        raise EnvironmentBroken(
            "MB0315",
            f"Port {self._port} of pod {self.pod}.{self.namespace} does not answer through the API server: {why}.",
            help="check that the pod runs and that the account may create pods/portforward",
        )

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._forward = None


def _keep_interruption(error: Exception) -> None:
    """Raise the interruption that the client of the WebSocket hides in an exception of its own."""
    if isinstance(error.__context__, KeyboardInterrupt | SystemExit):
        raise error.__context__ from None


def _words_of(error: Exception | None) -> str:
    """What an exception says, on one line; the API's client writes three, and some exceptions say nothing."""
    if isinstance(error, kubernetes_client.ApiException):
        said = f"{error.status or ''} {error.reason or ''}"
        error = error if error.__context__ is None else cast("Exception", error.__context__)
    else:
        said = str(error)
    return " ".join(said.split()).rstrip(".") or f"no answer came ({type(error).__name__})"
