"""The stage of a rehearsal: stand-ins for the cluster, the arrival gate and the load."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

from meshbdd.cluster import Cluster
from meshbdd.cluster.at_once import at_once
from meshbdd.cluster.kinds import KINDS, kind_of
from meshbdd.cluster.refusals import see_namespace
from meshbdd.errors import Inconclusive
from meshbdd.mesh.endpoints import Own
from meshbdd.mesh.looking import Arrival
from meshbdd.mesh.workloads import pod_labels, replicas_of
from meshbdd.scenario.vantages import OUTBOUND_ANNOTATION
from meshbdd.sidecars import ISTIO, LINKERD, linkerd_injects

Object = dict[str, Any]
Admit = Callable[[Object], None]
"""Raises what the API server would say of an object that it refuses."""


class OnlyInARun(Inconclusive):
    """Something that only a running mesh can tell; a rehearsal passes over it."""

    def __init__(self, what: str) -> None:
        super().__init__("MB0240", f"A rehearsal cannot tell {what}.", help="run the feature")


_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
"""What makes pods of a template of its own."""
_COPIED = ("config.linkerd.io/", "config.alpha.linkerd.io/")
"""What the annotations of a namespace begin with that its pods get, too (linkerd2 ``pkg/inject/inject.go``)."""
_RUNNING = {"EndpointSlice"}
"""What comes and goes while a mesh runs: a rehearsal has none of it, which is not the same as an empty list."""


def everything(cluster: Cluster) -> tuple[Object, ...]:
    """All objects of a cluster that a rehearsal may ask for.

    Raises:
        ApiFailure: the account may not see them.
    """
    found = at_once(partial(cluster.list, kind) for kind in KINDS.keys() - _RUNNING)
    return tuple(itertools.chain.from_iterable(found))


def namespaces(objects: Iterable[Object]) -> set[str]:
    """The namespaces of a world that anything in it tells of."""
    named = {obj["metadata"]["name"] for obj in objects if obj.get("kind") == "Namespace"}
    return named | {home for obj in objects if (home := obj["metadata"].get("namespace"))}


def copied(tree: Any) -> Any:
    """A copy of what was read from JSON or YAML; several times as fast as ``copy.deepcopy``, of which a rehearsal needs much."""
    return _thawed(_frozen(tree))


def _frozen(tree: Any) -> bytes:
    return pickle.dumps(tree, pickle.HIGHEST_PROTOCOL)


def _thawed(tree: bytes) -> Any:
    return pickle.loads(tree)  # noqa: S301 - nobody else's


_BEFORE, _LATER = "2998-01-01T00:00:00Z", "2999-01-01T00:{:06}Z"
"""When objects of files were made that do not tell, and what a scenario brings, in its order: of rivals a mesh takes the oldest."""


class _Silent:
    """Whatever else is asked of a stand-in is for a run to answer."""

    def __getattr__(self, name: str) -> NoReturn:
        raise OnlyInARun(name.lstrip("_").replace("_", " "))


class StageCluster(_Silent):
    """A cluster that is a dictionary: reads and writes of objects, and nothing that runs.

    Args:
        objects: What there is at first.
        namespace: The default namespace.
        admit: Asked before each write.
        live: The cluster whose objects these are, pods among them; ``None``: they are from files.
    """

    uid = "rehearsal"

    def __init__(self, objects: Iterable[Object], namespace: str, admit: Admit, live: Cluster | None = None) -> None:
        self.namespace = namespace
        self.context = live.context if live else "of the rehearsal"
        self._live = live
        self._admit = admit
        self._versions = itertools.count(1)
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._first: frozenset[tuple[str, str, str]] = frozenset()
        self._resting: frozenset[tuple[str, str, str]] = frozenset()
        self._running: list[tuple[str, Object, bytes]] | None = None
        """Every pod there is now: its namespace, its labels, and itself to copy; ``None`` where that was not asked yet."""
        self._born = _BEFORE
        for obj in objects:
            self._keep(obj)
        self._first, self._born = frozenset(self._objects), _LATER
        self._resting = frozenset(key for key in self._first if self._has_none(key))

    def _keep(self, obj: Object) -> Object:
        kept: Object = copied(obj)
        meta = kept["metadata"]
        number = next(self._versions)
        meta.setdefault("uid", f"rehearsal-{number}")
        meta["resourceVersion"] = str(number)
        key = _key(kind_of(kept), meta["name"], meta.get("namespace"))
        there = self._objects.get(key, {"metadata": {}})["metadata"].get("creationTimestamp")
        meta.setdefault("creationTimestamp", there or self._born.format(number))
        self._objects[key] = kept
        self._running = None
        return kept

    def _has_none(self, key: tuple[str, str, str]) -> bool:
        """Whether an object is a workload that is to have no pod."""
        return key[0] in _WORKLOADS and replicas_of(self._objects[key]) == 0

    @property
    def objects(self) -> list[Object]:
        """Everything there is now."""
        return list(self._objects.values())

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """One object, or ``None``."""
        _needs_no_run(kind)
        found: Object | None = copied(self._objects.get(_key(kind, name, namespace)))
        return found

    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[Object]:
        """The objects of a kind; ``labels`` is a selector of equalities."""
        _needs_no_run(kind)
        if kind == "Pod":
            pods = [*self._pods_that_run(namespace, labels)]
            if not pods and not self._live:  # "none" is nothing that a rehearsal knows of a mesh to come
                raise OnlyInARun("which pods there are")
            return pods
        return [
            copied(obj)
            for (its_kind, home, _), obj in self._objects.items()
            if its_kind == kind and namespace in (None, home) and _matches(_labels(obj), labels)
        ]

    def _pods_that_run(self, namespace: str | None, labels: str | None) -> Sequence[Object]:
        if self._running is None:  # steps ask for pods far more often than they change which there are
            pods = self._pods()
            self._running = [(pod["metadata"].get("namespace") or "", _labels(pod), _frozen(pod)) for pod in pods]
        return [_thawed(pod) for home, has, pod in self._running if namespace in (None, home) and _matches(has, labels)]

    def _pods(self) -> Iterator[Object]:
        """The pods of the world, and one for each workload in it that has none, as it would be injected.

        Of a Deployment that a scenario brings these are all of its pods: a run awaits them before it goes on, as it does that
        none is left of one that a scenario takes down.
        """
        there: list[Object] = []
        down = [self._objects[key] for key in self._objects if key not in self._resting and self._has_none(key)]
        gone = [(one["metadata"].get("namespace") or self.namespace, dict(pod_labels(one))) for one in down]
        for (kind, _, _), obj in self._objects.items():
            if kind == "Pod":
                if any(_runs(obj, place, labels, self.namespace) for place, labels in gone):
                    continue
                pod = copied(obj)
                # Of a live client pod the steps would find the way in, and send the scenario's requests for real.
                (pod["metadata"].get("annotations") or {}).pop(OUTBOUND_ANNOTATION, None)
                there.append(pod)
        yield from there
        workloads = itertools.chain.from_iterable(map(self.list, _WORKLOADS))
        for workload in workloads:
            if not (workload.get("spec") or {}).get("template"):
                continue
            meta = workload["metadata"]
            home = meta.get("namespace") or self.namespace
            key = _key(workload["kind"], meta["name"], meta.get("namespace"))
            brought = key not in self._first or (key not in self._resting and self._has_none(key))
            template = copied(workload["spec"]["template"])
            labels = (template.get("metadata") or {}).get("labels") or {}
            if not brought and any(_runs(pod, home, labels, self.namespace) for pod in there):
                continue
            place = (self.find("Namespace", home) or {}).get("metadata", {})
            labels |= _sidecars(template.get("metadata") or {}, place)
            annotations = _annotations(template.get("metadata") or {}, place, injected=LINKERD.label in labels)
            for number in range(replicas_of(workload) if brought else 1):
                uid = f"{meta['name']}-{number}"
                # Nobody knows the name that it will have; it stands in sentences only, after the word "pod".
                name = f"of {workload['kind']} {meta['name']}"
                own = {"name": name, "uid": uid, "namespace": home, "labels": labels, "annotations": annotations}
                status = {"phase": "Running"}
                yield {"apiVersion": "v1", "kind": "Pod", "metadata": own, "spec": template["spec"], "status": status}

    def log(self, *_args: Any, **_options: Any) -> bytes:
        """Nothing was logged."""
        return b""

    def see_admitted(self, obj: Object) -> None:
        """See that the API would take an object: the live one says it by itself.

        Raises:
            BadInput: it would not.
        """
        if self._live is not None:
            self._live.see_admitted(obj)
            return
        see_namespace(obj, self.list("Namespace"))
        self._admit(obj)

    def request(self, method: str, path: str) -> bytes:
        """What the live one says; of files it is what they hold. Nothing is written.

        Raises:
            OnlyInARun: it is no question, or one about something else.
        """
        if method == "GET" and self._live is not None:
            return self._live.request(method, path)
        if method != "GET" or not path.endswith("/serviceentries"):
            raise OnlyInARun(path)
        return json.dumps({"items": [obj for obj in self.objects if obj["kind"] == "ServiceEntry"]}).encode()

    def create(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Write a new object."""
        self._admit(obj)
        made: Object = copied(obj if dry_run else self._keep(obj))
        return made

    def replace(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Write an object as a whole."""
        return self.create(obj, dry_run=dry_run)

    def delete(self, obj: Object) -> None:
        """Delete an object."""
        meta = obj["metadata"]
        self._objects.pop(_key(kind_of(obj), meta["name"], meta.get("namespace")), None)
        self._running = None


def _runs(pod: Object, home: str, labels: Object, default: str) -> bool:
    """Whether a pod is one of those that a Deployment in a namespace makes: it has all the labels of their template."""
    meta = pod["metadata"]
    return (meta.get("namespace") or default) == home and labels.items() <= (meta.get("labels") or {}).items()


def _sidecars(template: Object, place: Object) -> dict[str, str]:
    """The labels that injectors would give a pod of a template in a namespace."""
    found: dict[str, str] = {}
    asked = (template.get("labels") or {}).get(ISTIO.injection.name)
    if (asked or (place.get("labels") or {}).get("istio-injection")) in {ISTIO.injection.wanted, "enabled"}:
        found["security.istio.io/tlsMode"] = "istio"
    own, around = ((meta.get("annotations") or {}).get(LINKERD.injection.name) or "" for meta in (template, place))
    if linkerd_injects(own, around):
        found[LINKERD.label] = "linkerd"
    return found


def _annotations(template: Object, place: Object, *, injected: bool) -> dict[str, str]:
    """The annotations of a pod of a template in a namespace: Linkerd's injector gives it those of the namespace that it lacks."""
    copied_to = {k: v for k, v in (place.get("annotations") or {}).items() if injected and k.startswith(_COPIED)}
    return {**copied_to, **(template.get("annotations") or {})}


def _labels(obj: Object) -> Object:
    return obj["metadata"].get("labels") or {}


def _matches(has: Object, labels: str | None) -> bool:
    wanted = dict(pair.split("=", 1) for pair in (labels or "").split(",") if "=" in pair)
    return wanted.items() <= has.items()


def _needs_no_run(kind: str) -> None:
    if kind in _RUNNING:
        raise OnlyInARun(f"which {kind} there is")


def _key(kind: str, name: str, namespace: str | None) -> tuple[str, str, str]:
    return kind, namespace or "", name


class StageGate(_Silent):
    """A gate at which everything has arrived."""

    def wait_present(self, *_args: Any, **_options: Any) -> Arrival:
        """There is no proxy to wait for."""
        return Arrival({})

    wait_absent = wait_present

    def before(self, *_args: Any, **_options: Any) -> dict[Any, Any]:
        """No proxy holds anything."""
        return {}

    def wait_quiet(self) -> None:
        """Nothing is under way."""

    def ejected(self) -> dict[str, tuple[str, ...]]:
        """Nothing is ejected."""
        return {}

    def endpoints(self, *_args: Any, **_options: Any) -> Own:
        """There is no proxy that would know any."""
        return Own()

    def wait_endpoints(self, *_args: Any, **_options: Any) -> None:
        """There is no endpoint to wait for."""

    def close(self) -> None:
        """Nothing is open."""
