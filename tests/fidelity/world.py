"""The world of the golden cases, running: its pods behind real sidecars, its applications scripted (``backend``)."""

from __future__ import annotations

import copy
import datetime as dt
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from meshbdd.lab.addresses import private_side
from meshbdd.lab.controllers.istio import ISTIO
from tests.fidelity.backend import CONTROL_PORT
from tests.golden.meaning import DATA
from tests.tools import OUTBOUND, LabUnderTest, until

Object = dict[str, Any]

CALLER, STRANGER, OUTSIDE = "order-stable-1.shop", "client-1.other", "outside-1.outside"
"""Who calls: a sidecar in the namespace of most services, one in another namespace, and a pod without a sidecar."""

_MARKER_HOST = "marker.fidelity.test"


def objects() -> list[Object]:
    """The objects of the golden world as the lab runs them: injected, addressed by the lab, with a command."""
    made: list[Object] = [_namespace("outside", injected=False), _pod("outside-1", "outside", {"app": "outside"})]
    for document in yaml.safe_load_all((DATA / "world.yaml").read_text()):
        meta = document["metadata"]
        if document["kind"] == "Namespace" and meta["name"] != "istio-system":
            made.append(_namespace(meta["name"], injected=True))
        elif document["kind"] == "Pod":
            made.append(_pod(meta["name"], meta["namespace"], meta["labels"], document["spec"]["serviceAccountName"]))
        elif document["kind"] == "Service":
            del document["spec"]["clusterIP"]
            made.append(document)
    accounts = {(o["metadata"]["namespace"], o["spec"]["serviceAccountName"]) for o in made if o["kind"] == "Pod"}
    for namespace, name in sorted(accounts - {("outside", "default")}):
        meta = {"name": name, "namespace": namespace}
        made.append({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    return made


def _namespace(name: str, *, injected: bool) -> Object:
    labels = {"istio-injection": "enabled"} if injected else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _pod(name: str, namespace: str, labels: dict[str, str], account: str = "default") -> Object:
    container = {
        "name": "app", "image": "shop", "ports": [{"containerPort": 8080}],
        "command": [sys.executable, str(Path(__file__).with_name("backend.py"))],
        "env": [{"name": "VERSION", "value": labels.get("version", "")}, {"name": "POD", "value": name}],
    }  # fmt: skip
    spec = {"serviceAccountName": account, "terminationGracePeriodSeconds": 0, "containers": [container]}
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _plural(kind: str) -> str:
    return f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"


def _path(obj: Object, *, named: bool = False) -> str:
    version, meta, plural = obj["apiVersion"], obj["metadata"], _plural(obj["kind"])
    where = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    root = "/apis" if "/" in version else "/api"
    return f"{root}/{version}{where}/{plural}" + (f"/{meta['name']}" if named else "")


def marker(number: int) -> Object:
    """A virtual service that changes nothing for anybody; its route's name tells which state a sidecar has."""
    route = {"name": f"marker-{number}", "directResponse": {"status": 204}}
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "fidelity-marker", "namespace": "other"},
        "spec": {"hosts": [_MARKER_HOST], "http": [route]},
    }  # fmt: skip


def epoch(number: int) -> Object:
    """A harmless change of every caller's clusters: open connections are renewed (mesh-semantics §4.1)."""
    value = {"metadata": {"filter_metadata": {"fidelity": {"epoch": str(number)}}}}
    patch = {
        "applyTo": "CLUSTER",
        "match": {"context": "SIDECAR_OUTBOUND"},
        "patch": {"operation": "MERGE", "value": value},
    }
    return {
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "fidelity-epoch", "namespace": "istio-system"}, "spec": {"configPatches": [patch]},
    }  # fmt: skip


class Log:
    """The access log of one sidecar, read as it grows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._entries: dict[str, list[Object]] = {}
        self._lock = threading.Lock()

    def of(self, request_id: str) -> list[Object]:
        """All entries for one request id so far."""
        with self._lock, self._file.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                if line.startswith(b"{"):
                    entry = json.loads(line)
                    self._entries.setdefault(entry["request_id"], []).append(entry)
        return self._entries.get(request_id, [])


@dataclass
class World:
    """The running world."""

    lab: LabUnderTest
    pods: dict[str, Object]
    logs: dict[str, Log]
    _applied: list[Object] = field(default_factory=list)
    _turn: int = 0
    _records: dict[str, list[Object]] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def up(cls, name: str, folder: Path) -> World:
        """Bring it up; ``folder`` takes the manifest."""
        manifest = folder / "world.yaml"
        manifest.write_text(yaml.safe_dump_all(objects()))
        lab = LabUnderTest.up(name, shop=False, clients=False, manifests=[manifest])
        pods, logs = {}, {}
        for pod in lab.cluster.list("Pod"):
            meta = pod["metadata"]
            key = f"{meta['name']}.{meta['namespace']}"
            pods[key] = pod
            if key != OUTSIDE:
                folder = lab.info.folder / "pods" / f"{meta['namespace']}_{meta['name']}_{meta['uid'][:8]}"
                logs[key] = Log(folder / "logs" / "istio-proxy" / "0.log")
        return cls(lab, pods, logs)

    def down(self) -> None:
        self.lab.down()

    # Configuration

    def apply(self, resources: list[Object], *, renew: bool = False, apart: bool = False) -> None:
        """Create resources and wait until every sidecar has them.

        Args:
            resources: Objects.
            renew: Renew the callers' connections too, since some of the resources change a listener.
            apart: Create each of them in a second of its own.
        """
        for obj in resources:
            made = self._write("POST", _path(obj), obj)
            self._applied.append(made)
            if apart:
                created = dt.datetime.fromisoformat(made["metadata"]["creationTimestamp"])
                until(
                    "the next second",
                    lambda created=created: dt.datetime.now(dt.UTC) - created > dt.timedelta(seconds=1),
                )
        self.settle(renew=renew)

    def replace(self, obj: Object) -> None:
        """Write an applied object anew."""
        live = json.loads(self.lab.cluster.request("GET", _path(obj, named=True)))
        meta = {**obj["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}
        self._write("PUT", _path(obj, named=True), {**obj, "metadata": meta})

    def clean(self, *, renew: bool = False) -> None:
        """Take back what was applied and wait until every sidecar has forgotten it."""
        if not self._applied:
            return
        while self._applied:
            self.lab.cluster.request("DELETE", _path(self._applied.pop(), named=True))
        self.settle(renew=renew)

    def _write(self, verb: str, path: str, obj: Object) -> Object:
        query = {"fieldValidation": "Strict"}
        made: Object = json.loads(self.lab.cluster.request(verb, path, body=copy.deepcopy(obj), query=query))
        # The answer carries both for every kind; what is deleted later needs them.
        return {**made, "apiVersion": obj["apiVersion"], "kind": obj["kind"]}

    def settle(self, *, renew: bool = False) -> None:
        """Wait until every sidecar has what was written so far; routes come last in a push."""
        self._turn += 1
        self._put(marker(self._turn))
        tag = f'"marker-{self._turn}"'
        self._everywhere(tag, lambda pod: tag in self.admin(pod, "/config_dump?resource=dynamic_route_configs"))
        if renew:
            self._put(epoch(self._turn))
            self._everywhere(f"epoch {self._turn}", lambda pod: self._epochs(pod) == {str(self._turn)})

    def _epochs(self, pod: str) -> set[str]:
        """The epochs of a sidecar's outbound clusters that are in use, as opposed to warming."""
        dump = json.loads(self.admin(pod, "/config_dump?resource=dynamic_active_clusters"))
        clusters = [c["cluster"] for c in dump["configs"] if c["cluster"]["name"].startswith("outbound|")]
        return {c["metadata"]["filter_metadata"].get("fidelity", {}).get("epoch", "") for c in clusters}

    def _put(self, obj: Object) -> None:
        # The marker and the epoch stay, so they are no part of what `clean` takes back.
        if self.lab.cluster.request("GET", _path(obj)).find(f'"{obj["metadata"]["name"]}"'.encode()) < 0:
            self._write("POST", _path(obj), obj)
        else:
            self.replace(obj)

    def _everywhere(self, what: str, holds: Callable[[str], bool]) -> None:
        for pod in self.logs:
            until(f"{what} at {pod}", lambda pod=pod: holds(pod), seconds=30)

    # Looking

    def address(self, pod: str) -> tuple[str, int]:
        """Where requests of a pod enter its way out."""
        host, _, port = self.pods[pod]["metadata"]["annotations"][OUTBOUND].rpartition(":")
        return host, int(port)

    def admin(self, pod: str, path: str) -> str:
        """A page of the sidecar's admin interface."""
        return requests.get(f"http://{self.address(pod)[0]}:15000{path}", timeout=5).text

    def objects(self) -> list[Object]:
        """Every object that the compiler reads, as the API has them now."""
        found = []
        for resource in ISTIO.resources:
            plural, _, group = resource.partition(".")
            version = self._version(group, plural)
            if version is None:
                continue
            path = f"/apis/{version}/{plural}" if group else f"/api/{version}/{plural}"
            content = json.loads(self.lab.cluster.request("GET", path))
            kind = content["kind"].removesuffix("List")
            found += [{"apiVersion": version, "kind": kind, **item} for item in content["items"]]
        return found

    def serves(self, obj: Object) -> bool:
        """Whether the API has the kind of an object."""
        group = obj["apiVersion"].partition("/")[0] if "/" in obj["apiVersion"] else ""
        return self._version(group, _plural(obj["kind"])) is not None

    def _version(self, group: str, plural: str) -> str | None:
        """The version in which the API serves a resource; ``None`` where it does not."""
        if not group:
            return "v1"
        groups = json.loads(self.lab.cluster.request("GET", "/apis"))["groups"]
        versions = next((g["versions"] for g in groups if g["name"] == group), [])
        for version in versions:
            known = json.loads(self.lab.cluster.request("GET", f"/apis/{version['groupVersion']}"))["resources"]
            if any(resource["name"] == plural for resource in known):
                return str(version["groupVersion"])
        return None

    def collect(self) -> None:
        """Ask the applications what they received since the last time."""
        with self._lock:
            self._collect()

    def _collect(self) -> None:
        for name, pod in self.pods.items():
            address = pod["status"]["podIP"] if name == OUTSIDE else private_side(pod["status"]["podIP"])
            start = self._read.get(name, 0)
            new = requests.get(f"http://{address}:{CONTROL_PORT}/{start}", timeout=5).json()
            self._read[name] = start + len(new)
            for record in new:
                self._records.setdefault(record["id"], []).append(record)

    def received(self, request_id: str) -> list[Object]:
        """What the applications received under a request id, as far as it was collected."""
        return self._records.get(request_id, [])
