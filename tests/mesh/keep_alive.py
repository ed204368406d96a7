"""Callers that keep their connections and are slow to use them, and an application that does what each request says.

A caller is a pod with a sidecar of its own; it sends one request at a time over the connections that it has had from the
beginning: it stays idle in between, which is when an old connection shows itself.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests
import yaml

from meshbdd.intents import ServiceRef
from meshbdd.mesh import Gate
from tests.fidelity import backend
from tests.fidelity.world import Log
from tests.tools import OUTBOUND, LabUnderTest, until

CALLERS, NAMESPACES, HOME = 8, ("east", "west"), "south"
TARGET, BOTH = ServiceRef("target", HOME), ServiceRef("versions", HOME)
"""The application: its one stable pod, and both of its versions.

A pod's limits are those for its oldest Service, of two of one second those for the first by name: it has to be this order.
"""
EAST = ServiceRef("caller", "east")

_NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, {injection}}}
"""
_INJECTION = {
    "istio": "labels: {istio-injection: enabled}",
    "linkerd": "annotations: {linkerd.io/inject: enabled}",
}
_PLAIN = "labels: {}"
_CALLER = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: caller, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: caller}}}}
  template:
    metadata: {{labels: {{app: caller}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: client, image: meshbdd/client}}]
---
apiVersion: v1
kind: Service
metadata: {{name: caller, namespace: {namespace}}}
spec: {{selector: {{app: caller}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
_APPLICATION = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: "target-{version}", namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: target, version: {version}}}}}
  template:
    metadata: {{labels: {{app: target, version: {version}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: shop
        command: [{python}, {program}]
        env: [{{name: VERSION, value: {version}}}]
        ports: [{{containerPort: 8080}}]
"""
_SERVICES = """
apiVersion: v1
kind: Service
metadata: {{name: target, namespace: {namespace}}}
spec: {{selector: {{app: target, version: stable}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: versions, namespace: {namespace}}}
spec: {{selector: {{app: target}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""


def _texts(mesh: str, plain: str) -> str:
    """The manifests of the callers and the application."""
    injected = {name: _PLAIN if name == plain else _INJECTION[mesh] for name in (*NAMESPACES, HOME)}
    made = [_NAMESPACE.format(namespace=name, injection=words) for name, words in injected.items()]
    made += [_CALLER.format(namespace=name, replicas=CALLERS // len(NAMESPACES)) for name in NAMESPACES]
    program = {"namespace": HOME, "python": sys.executable, "program": backend.__file__}
    made += [_APPLICATION.format(version=version, **program) for version in ("stable", "canary")]
    return "\n---\n".join([*made, _SERVICES.format(namespace=HOME)])


@dataclass(frozen=True)
class Answer:
    """What one caller got.

    Attributes:
        caller: Its namespace.
        status: The HTTP status.
        version: Which version of the application answered; empty where a proxy did.
        request_id: The request's id.
        seconds: How long it took.
    """

    caller: str
    status: int
    version: str
    request_id: str
    seconds: float


class Callers:
    """The callers, and what they call.

    Args:
        lab: Where they are.
    """

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        self._sessions: list[tuple[str, requests.Session]] = []
        self._pool = ThreadPoolExecutor(CALLERS)
        self._logs: dict[str, Log] = {}

    @classmethod
    def up(cls, lab: LabUnderTest, mesh: str = "istio", plain: str = "") -> Callers:
        """Bring them up; each has its session from now on.

        Args:
            lab: Where they are to be.
            mesh: Whose sidecars they have.
            plain: A namespace of callers without any.
        """
        callers = cls(lab)
        for obj in yaml.safe_load_all(_texts(mesh, plain)):
            lab.cluster.create(obj)

        def ready() -> list[dict[str, Any]]:
            pods = [pod for name in (*NAMESPACES, HOME) for pod in lab.cluster.list("Pod", name) if lab._ready(pod)]
            return pods if len(pods) == CALLERS + 2 else []

        for pod in until("the callers and what they call", ready, seconds=60):
            meta = pod["metadata"]
            if meta["namespace"] != HOME:
                session = requests.Session()
                session.trust_env = False
                session.proxies = {"http": f"http://{meta['annotations'][OUTBOUND]}"}
                callers._sessions.append((meta["namespace"], session))
        until("every caller being answered", lambda: {a.status for a in callers.ask(service=BOTH)} == {200}, seconds=30)
        return callers

    def ask(
        self, does: str = "200", service: ServiceRef = TARGET, headers: Mapping[str, str] | None = None
    ) -> list[Answer]:
        """One request from each caller, all at a time.

        Args:
            does: What the application does with it (``tests.fidelity.backend``).
            service: Which service is asked.
            headers: Further request headers.
        """

        def one(caller: tuple[str, requests.Session]) -> Answer:
            namespace, session = caller
            request_id = str(uuid.uuid4())
            sent = {"x-request-id": request_id, "x-do": does, **(headers or {})}
            answer = session.get(f"http://{service}/", headers=sent, timeout=20)
            version = answer.headers.get("x-version", "")
            return Answer(namespace, answer.status_code, version, request_id, answer.elapsed.total_seconds())

        return list(self._pool.map(one, self._sessions))

    def logged(self, answers: Sequence[Answer], version: str = "stable") -> list[dict[str, Any]]:
        """What the sidecar of a version logged about each of these, the last of it; waits for it."""

        def entries() -> list[dict[str, Any]]:
            found = [self._log(version).of(answer.request_id) for answer in answers]
            return [entry[-1] for entry in found] if all(found) else []

        logged: list[dict[str, Any]] = until(f"{len(answers)} requests in the log of {version}", entries)
        return logged

    def reached(self, request_id: str, version: str) -> bool:
        """Whether the log of a version has a request by now."""
        return bool(self._log(version).of(request_id))

    def _log(self, version: str) -> Log:
        [pod] = self.lab.cluster.list("Pod", HOME, labels=f"app=target,version={version}")
        meta = pod["metadata"]
        logs = self.lab.info.folder / "pods" / f"{meta['namespace']}_{meta['name']}_{meta['uid'][:8]}" / "logs"
        if meta["uid"] not in self._logs:
            [file] = logs.glob("*-proxy/0.log")
            self._logs[meta["uid"]] = Log(file)
        return self._logs[meta["uid"]]


Ask = Callable[[Callers, Gate], int]
"""Asks once or more, and counts the answers that are stale."""


def stale_unless(right: Callable[[Answer], bool], does: str = "200", service: ServiceRef = TARGET) -> Ask:
    """Ask each caller once; an answer that is not right is stale."""
    return lambda callers, _gate: sum(not right(answer) for answer in callers.ask(does, service))
