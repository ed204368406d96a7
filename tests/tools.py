"""A lab as the tests use it: real processes, the product's client, and HTTP through real sidecars."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from meshbdd.cluster import Cluster
from meshbdd.lab import lifecycle
from meshbdd.lab.certificates import Certificate, CertificateAuthority
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

OUTBOUND = "lab.meshbdd.dev/outbound"
FENCE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: fence, namespace: shop}}
spec: {{hosts: [fence-{number}.example], http: [{{directResponse: {{status: 200}}}}]}}
"""


def _page(host: str, path: str) -> str:
    try:
        return requests.get(f"http://{host}:15000{path}", timeout=5).text
    except requests.RequestException:
        return ""  # a sidecar that goes away, or is not there yet


def until(what: str, check: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait until ``check`` gives something true."""

    def probe() -> Any:
        seen = check()
        if not seen:
            raise NotYet(repr(seen))
        return seen

    return eventually(probe, what=what, within=Duration(seconds))


@dataclass
class LabUnderTest:
    info: lifecycle.LabInfo
    cluster: Cluster
    applied: list[dict[str, Any]] = field(default_factory=list)
    _fences: int = 0

    @classmethod
    def up(cls, name: str, **options: Any) -> LabUnderTest:
        info = lifecycle.up(name, **options)
        return cls(info, Cluster.connect(info.kubeconfig))

    def down(self) -> None:
        lifecycle.down(self.info.name)

    # the API

    def apply(self, text: str) -> None:
        for obj in yaml.safe_load_all(text):
            obj["metadata"].setdefault("namespace", "shop")
            made = self.cluster.create(obj)
            self.applied.append(made)

    def clean(self) -> None:
        """Take back what was applied, and see it gone: from the API, and from what every sidecar was told."""
        changed = bool(self.applied)
        while self.applied:
            obj = self.applied.pop()
            self.cluster.delete(obj)
        if changed and self._sidecars():
            self._fence()
        until("every pod being ready", lambda: all(self._ready(pod) for pod in self.pods()))

    def _sidecars(self) -> list[str]:
        """Admin addresses of Istio's sidecars that run and are to stay."""
        meshed = self.cluster.list("Pod", "shop", labels="security.istio.io/tlsMode=istio")
        return [
            pod["metadata"]["annotations"][OUTBOUND].rpartition(":")[0]
            for pod in meshed
            if "deletionTimestamp" not in pod["metadata"] and self._ready(pod)
        ]

    def _fence(self) -> None:
        """Routes come last on a sidecar's stream: who holds this one holds everything that was changed before it."""
        self._fences += 1
        made = self.cluster.create(yaml.safe_load(FENCE.format(number=self._fences)))
        name = f"fence-{self._fences}.example"
        dump = "/config_dump?resource=dynamic_route_configs"
        until("every sidecar holding the fence", lambda: all(name in _page(host, dump) for host in self._sidecars()))
        self.cluster.delete(made)

    @staticmethod
    def _ready(pod: dict[str, Any]) -> bool:
        conditions = (pod.get("status") or {}).get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def pods(self, app: str | None = None) -> list[dict[str, Any]]:
        return self.cluster.list("Pod", "shop", labels=f"app={app}" if app else None)

    def pod(self, app: str) -> dict[str, Any]:
        return self.pods(app)[0]

    def outbound(self, app: str) -> str:
        return str(self.pod(app)["metadata"]["annotations"][OUTBOUND])

    def admin(self, app: str, path: str) -> str:
        host = self.outbound(app).rpartition(":")[0]
        return requests.get(f"http://{host}:15000{path}", timeout=5).text

    def issue(self, lifetime: dt.timedelta) -> Certificate:
        """A certificate of this mesh for the client, issued with the authority that istio-system holds."""
        raw = json.loads(self.cluster.request("GET", "/api/v1/namespaces/istio-system/secrets/istio-ca-secret"))["data"]
        root, key = (base64.b64decode(raw[name]) for name in ("ca-cert.pem", "ca-key.pem"))
        return CertificateAuthority(root=root, key=key).workload("shop", "client", lifetime=lifetime)

    # traffic

    def session(self, app: str = "client") -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.proxies = {"http": f"http://{self.outbound(app)}"}
        return session

    def get(self, url: str, app: str = "client", **options: Any) -> requests.Response:
        with self.session(app) as session:
            return session.get(url, timeout=10, **options)

    def post(self, url: str, app: str = "client", **options: Any) -> requests.Response:
        with self.session(app) as session:
            return session.post(url, timeout=10, json={"sku": "A1", "quantity": 1}, **options)

    def log(self, app: str) -> list[dict[str, Any]]:
        pod = self.pod(app)["metadata"]
        text = self.cluster.log(pod["name"], pod["namespace"], "istio-proxy")
        return [json.loads(line) for line in text.splitlines() if line.startswith(b"{")]

    def last_logged(self, app: str, request_id: str) -> dict[str, Any]:
        entry: dict[str, Any] = until(
            f"{request_id} in the log of {app}",
            lambda: next((e for e in self.log(app) if e["request_id"] == request_id), None),
        )
        return entry

    def in_effect(self, app: str, words: str, path: str = "/config_dump", *, gone: bool = False) -> None:
        until(
            f"{words!r} {'leaving' if gone else 'in'} the sidecar of {app}",
            lambda: (words in self.admin(app, path)) != gone,
        )

    def in_routes(self, app: str, words: str, *, gone: bool = False) -> None:
        """Clusters and endpoints arrive before the routes that a request is sent by."""
        self.in_effect(app, words, "/config_dump?resource=dynamic_route_configs", gone=gone)

    def in_listeners(self, app: str, words: str, *, gone: bool = False) -> None:
        """A listener that is warming does not answer yet, one that is draining does no more."""
        where = "/config_dump?resource=dynamic_listeners"

        def active() -> str:
            listeners = json.loads(self.admin(app, where)).get("configs", [])
            return json.dumps([listener.get("active_state") for listener in listeners])

        until(
            f"{words!r} {'leaving' if gone else 'in'} the listeners of {app}",
            lambda: (words in active()) != gone,
        )

    def kubectl(
        self, *arguments: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(self.info.kubeconfig)}
        return subprocess.run(
            ["kubectl", *arguments],
            capture_output=True,
            text=True,
            check=check,
            env=environment,
            timeout=60,
            input=stdin,
        )


def processes_below(folder: Path) -> list[str]:
    """Command lines of processes that name a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line or f"LAB_DATA={folder}" in environment:
                found.append(line)
    return found


def now() -> float:
    return time.monotonic()
