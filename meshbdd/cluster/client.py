"""A small Kubernetes client for plain dicts.

Typed models lose fields that they do not know, and the official client sends a write whose answer was lost up to four
times more; so objects stay dicts here, every call has a deadline, and nothing is retried behind our back.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config

from meshbdd.cluster.failures import ApiFailure, Unanswered
from meshbdd.cluster.kinds import KINDS, Kind, as_written, kind_of
from meshbdd.cluster.refusals import understood
from meshbdd.errors import BadInput
from meshbdd.waiting import of_this_moment

__all__ = ["ApiFailure", "Cluster", "Unanswered", "default_kubeconfig", "server_of"]

Object = dict[str, Any]

FIELD_MANAGER = "meshbdd"
"""Our name in ``managedFields``."""

TIMEOUT_SECONDS = 10.0
"""For one call. The client's own default is to wait for ever."""

_TOKEN_SECONDS = 5.0
"""How long a token is used before the library is asked for a newer one: short beside the minutes that one is valid for."""


class Cluster:
    """A connection to one Kubernetes API.

    Use ``Cluster.connect``.
    """

    def __init__(self, configuration: Any, namespace: str, context: str) -> None:
        self._configuration = configuration
        self.client = kubernetes_client.ApiClient(configuration)
        self.namespace = namespace
        self.context = context
        self._uid: str | None = None
        self._not_served: set[str] = set()
        self._known_headers: dict[str, str] = {}
        self._asked_for_token = -math.inf

    @classmethod
    def connect(cls, kubeconfig: Path, *, context: str | None = None, namespace: str | None = None) -> Cluster:
        """Read a kubeconfig once and connect.

        Args:
            kubeconfig: The file.
            context: Which of its contexts; the current one where ``None``.
            namespace: Default namespace; the context's where ``None``.

        Raises:
            BadInput: the file is missing or broken, or has no such context.
        """
        try:
            content = yaml.safe_load(kubeconfig.read_text("utf-8"))
        except OSError as error:
            raise BadInput(
                "MB0302", f"No kubeconfig at {kubeconfig}: {error.strerror}.", help="check KUBECONFIG"
            ) from None
        except yaml.YAMLError as error:
            raise BadInput("MB0303", f"{kubeconfig} is not YAML: {error}.", help="mend the file") from None
        wanted = context or (content or {}).get("current-context")
        found = next((c for c in (content or {}).get("contexts") or [] if c.get("name") == wanted), None)
        if found is None:
            raise BadInput("MB0304", f"{kubeconfig} has no context '{wanted}'.", help="name one of its contexts")
        configuration = kubernetes_client.Configuration()
        configuration.retries = False
        try:
            kubernetes_config.load_kube_config_from_dict(
                content, context=wanted, client_configuration=configuration, temp_file_path=None
            )
        except kubernetes_config.ConfigException as error:
            raise BadInput("MB0305", f"{kubeconfig} cannot be used: {error}.", help="mend the file") from None
        return cls(configuration, namespace or found["context"].get("namespace") or "default", str(wanted))

    @property
    def server(self) -> str:
        """Address of the API."""
        return str(self._configuration.host)

    @property
    def uid(self) -> str:
        """The cluster's identity: the uid of its ``kube-system`` namespace."""
        if self._uid is None:
            self._uid = str(self.get("Namespace", "kube-system")["metadata"]["uid"])
        return self._uid

    def _headers(self) -> dict[str, str]:
        """What each call says of us; the library looks for a newer token whenever it is asked, which takes its time."""
        if time.monotonic() - self._asked_for_token < _TOKEN_SECONDS:
            return dict(self._known_headers)
        headers = {"accept": "application/json", "user-agent": "meshbdd"}
        for setting in self._configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        self._known_headers, self._asked_for_token = headers, time.monotonic()
        return dict(headers)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> bytes:
        """One call.

        Raises:
            ApiFailure: the API answered with an error.
            Unanswered: no answer came.
        """
        if method != "GET" and (known := of_this_moment()) is not None:
            known.clear()
        headers = self._headers()
        data = None
        if body is not None:
            headers["content-type"] = "application/json"
            data = json.dumps(body)
        url = self.server + path + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self.client.rest_client.pool_manager.request(
                method, url, body=data, headers=headers, retries=False, timeout=urllib3.Timeout(seconds)
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unanswered(
                "MB0306",
                f"The API server {self.server} did not answer {method} {path}: {error}.",
                help="check that it runs and that the kubeconfig leads to it",
            ) from None
        if answer.status >= 400:
            raise _failure(answer.status, answer.data, f"{method} {path}")
        return bytes(answer.data)

    def _read(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """What the API tells, each time as objects of the caller's own."""
        known = of_this_moment()
        if known is None:
            return json.loads(self.request("GET", path, query=query))
        asked = id(self), path, str(query)
        if asked not in known:
            known[asked] = self.request("GET", path, query=query)
        return json.loads(known[asked])

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """One object.

        Raises:
            ApiFailure: status 404 where there is none.
        """
        found: Object = self._read(KINDS[kind].path(namespace, name))
        return found

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """One object, or ``None``."""
        try:
            return self.get(kind, name, namespace)
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[Object]:
        """All objects of a kind, of one namespace or of all; ``labels`` is a label selector.

        There are none of a kind that is not installed; that is asked but once.

        Raises:
            ApiFailure: the account may not see them.
        """
        if kind in self._not_served:
            return []
        query = {"labelSelector": labels} if labels else None
        try:
            content = self._read(KINDS[kind].path(namespace), query)
        except ApiFailure as failure:
            if failure.status != HTTPStatus.NOT_FOUND:  # of a namespace that there is not, the list is empty
                raise
            self._not_served.add(kind)
            return []
        # Members of a list carry neither kind nor version, and whoever handles them alone needs both.
        told = {"apiVersion": KINDS[kind].group_version, "kind": kind.partition(".")[0]}
        return [{**told, **item} for item in content.get("items") or []]

    def create(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Create an object; an unknown field in it is refused."""
        return self._post(KINDS[kind_of(obj)], obj, dry_run=dry_run)

    def _post(self, kind: Kind, obj: Object, *, dry_run: bool) -> Object:
        path = kind.path(obj["metadata"].get("namespace"))
        made: Object = json.loads(self.request("POST", path, body=obj, query=_write_options(dry_run)))
        return made

    def replace(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Write an object as a whole; its resourceVersion and uid make this a compare-and-swap."""
        return self._put(KINDS[kind_of(obj)], obj, dry_run=dry_run)

    def _put(self, kind: Kind, obj: Object, *, dry_run: bool) -> Object:
        meta = obj["metadata"]
        path = kind.path(meta.get("namespace"), meta["name"])
        made: Object = json.loads(self.request("PUT", path, body=obj, query=_write_options(dry_run)))
        return made

    def see_admitted(self, obj: Object) -> None:
        """See that the API would take an object as a tester wrote it; nothing is written.

        Raises:
            RefusedObject: it would not, and why.
            UnplayableObject: it would not because it is the lab's.
        """
        meta, kind = obj["metadata"], as_written(obj)
        wanted = {**obj, "apiVersion": kind.group_version}
        live = self.find(kind_of(obj), meta["name"], meta.get("namespace"))
        try:
            if live is None:
                self._post(kind, wanted, dry_run=True)
            else:
                self._put(kind, {**live, **wanted, "metadata": live["metadata"]}, dry_run=True)
        except ApiFailure as failure:
            error = understood(self, failure, wanted)
            raise (failure if error is None else error) from None

    def delete(self, obj: Object) -> None:
        """Delete exactly this object (by uid); nothing happens if it is gone."""
        meta = obj["metadata"]
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": meta["uid"]}}
        try:
            self.request("DELETE", KINDS[kind_of(obj)].path(meta.get("namespace"), meta["name"]), body=options)
        except ApiFailure as failure:
            if failure.status != 404:
                raise

    def log(self, pod: str, namespace: str, container: str, *, tail: int | None = None) -> bytes:
        """The output of a container so far, or its last ``tail`` lines."""
        path = f"{KINDS['Pod'].path(namespace, pod)}/log"
        query = {"container": container} if tail is None else {"container": container, "tailLines": str(tail)}
        return self.request("GET", path, query=query, seconds=30)


def _write_options(dry_run: bool) -> dict[str, str]:
    return {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}


def _failure(status: int, body: bytes, what: str) -> ApiFailure:
    told = None
    try:
        told = json.loads(body)
        reason, message = str(told.get("reason", "")), str(told.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", body.decode(errors="replace")[:256].strip()
    return ApiFailure(status, reason, f"The API refused {what} with {status}: {message or reason}.", told)


def default_kubeconfig() -> Path:
    """The kubeconfig of the user: ``KUBECONFIG``, else ``~/.kube/config``."""
    return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def server_of(kubeconfig: Path) -> str | None:
    """Address of the API that a kubeconfig leads to now; ``None`` where it leads nowhere."""
    try:
        return Cluster.connect(kubeconfig).server
    except BadInput:
        return None
