"""Labs come and go: up, down, found again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from meshbdd.errors import BadInput, EnvironmentBroken, MeshbddError, Place
from meshbdd.lab.reaper import start_time
from meshbdd.lab.sidecar.binary import find_envoy
from meshbdd.lab.state import (
    OPTIONS,
    LabInfo,
    check_name,
    check_platform,
    clear,
    find,
    running,
    sockets_folder,
    state_root,
)
from meshbdd.manifests import path as shipped
from meshbdd.units import Duration

__all__ = ["LabInfo", "down", "find", "running", "shop_objects", "up"]

UP_TIMEOUT = Duration(60)
"""How long pods may take to get ready: far above the second or two that the shop needs, for slow machines."""

_ORDER = {"Namespace": 0, "CustomResourceDefinition": 1, "ServiceAccount": 2, "ConfigMap": 3, "Secret": 3, "Service": 4}


def read_objects(files: Iterable[Path], namespace: str, *, or_none: bool = False) -> list[dict[str, Any]]:
    """Read Kubernetes YAML; objects without a namespace get ``namespace``.

    Args:
        files: What to read.
        namespace: Of objects that name none.
        or_none: Whether files that hold no object at all make sense.

    Raises:
        BadInput: a file that is missing or no Kubernetes YAML, or files that hold no object at all.
    """
    files, objects = list(files), []
    for file in files:
        for document in _documents(file):
            if document is None:
                continue
            if not isinstance(document, dict) or not {"apiVersion", "kind", "metadata"} <= set(document):
                raise BadInput(
                    "MB0717",
                    f"{file} holds a document without apiVersion, kind and metadata.",
                    place=Place(file),
                    help="give the lab Kubernetes objects",
                )
            metadata = document["metadata"]
            if not (isinstance(metadata, dict) and isinstance(metadata.get("name"), str)):
                raise BadInput(
                    "MB0717",
                    f"{file} holds a {document['kind']} without metadata.name.",
                    place=Place(file),
                    help="give it a name",
                )
            for part in ("spec", "status"):
                if not isinstance(document.get(part), dict | None):
                    raise BadInput(
                        "MB0717",
                        f"{file}: the {part} of {document['kind']} {metadata['name']} is no object.",
                        place=Place(file),
                        help="write its fields with their names",
                    )
            if not isinstance(metadata.get("namespace"), str | None):
                raise BadInput(
                    "MB0717",
                    f"{file}: the namespace of {document['kind']} {metadata['name']} is no name.",
                    place=Place(file),
                    help="give it one, or leave it out",
                )
            if metadata.get("namespace", "") is None:
                del metadata["namespace"]
            if document["kind"] not in {"Namespace", "CustomResourceDefinition"}:
                document["metadata"].setdefault("namespace", namespace)
            objects.append(document)
    if files and not objects and not or_none:
        names = " and ".join(map(str, files))
        holds = "holds" if len(files) == 1 else "hold"
        raise BadInput("MB0734", f"{names} {holds} no Kubernetes object.", help="name a file with at least one")
    return objects


def _documents(file: Path) -> list[Any]:
    """The documents of a file, and in the place of a ``List``, as ``kubectl get -o yaml`` prints it, its members."""
    try:
        documents = list(yaml.safe_load_all(file.read_text("utf-8")))
    except OSError as error:
        raise BadInput("MB0715", f"{file} cannot be read: {error.strerror}.", help="check the path") from None
    except (yaml.YAMLError, ValueError) as error:  # a date that there is not, or bytes that are no text
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        why = getattr(error, "problem", None) or str(error)
        raise BadInput("MB0716", f"{file} is not YAML: {why}.", place=Place(file, line), help="mend the file") from None
    return [item for document in documents for item in _items(document)]


def _items(document: Any) -> list[Any]:
    items = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else None
    return items if isinstance(items, list) else [document]


def shipped_objects(*rooms: str) -> list[dict[str, Any]]:
    """What ships with meshbdd: ``shop``, the demo shop; ``vantage``, the clients that requests come from."""
    return read_objects([file for room in rooms for file in sorted(shipped(room).glob("*.yaml"))], "shop")


def shop_objects() -> list[dict[str, Any]]:
    """The demo shop with its clients."""
    return shipped_objects("shop", "vantage")


def _key(obj: Mapping[str, Any]) -> tuple[str, str, str, str]:
    meta = obj["metadata"]
    return obj["apiVersion"].partition("/")[0], obj["kind"], meta.get("namespace", ""), meta["name"]


def replacing(objects: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects with new ones among them, each in the place of one of its group, kind, namespace and name."""
    return list({_key(obj): obj for obj in (*objects, *new)}.values())


def applied(objects: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The new ones; one that says no ``spec`` has that of the object in whose place it stands, as if it were applied."""
    there = {_key(obj): obj for obj in objects}
    return [_over(there.get(_key(obj)), obj) for obj in new]


def _over(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    if old is None or "spec" in new or "spec" not in old:
        return new
    metadata = {**old["metadata"], **new["metadata"]}
    for field in ("labels", "annotations"):
        if isinstance(said := metadata.get(field), dict):
            metadata[field] = {**(old["metadata"].get(field) or {}), **said}
    return {**old, **new, "metadata": metadata}


def deviations(mesh: str) -> dict[str, str]:
    """In what the lab's sidecars differ from those of a mesh, a sentence each, by their names."""
    from meshbdd.lab.linkerd.deviations import sentences  # noqa: PLC0415 - only for those who ask

    return sentences() if mesh == "linkerd" else {}


def _pods(objects: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for body in objects:
        if body["kind"] == "Pod":
            count += 1
        elif body["kind"] == "Deployment":
            count += int(body["spec"].get("replicas", 1))
    return count


@contextlib.contextmanager
def _only_one(name: str) -> Iterator[None]:
    """Let one process at a time bring a lab of this name up or down."""
    root = state_root()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (root / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def up(
    name: str = "default",
    *,
    shop: bool = True,
    clients: bool = True,
    manifests: Iterable[Path] = (),
    images: Mapping[str, tuple[str, ...]] | None = None,
    namespace: str = "shop",
    cwd: Path | None = None,
    mesh: str = "istio",
) -> LabInfo:
    """Bring a lab up and return when every pod is ready.

    Args:
        name: The lab's name.
        shop: Whether the demo shop is deployed.
        clients: Whether the pods are that scenarios send their requests from.
        manifests: More YAML to deploy; an object of the same name takes the place of one that ships with meshbdd.
        images: Container image → command on this machine.
        namespace: Namespace of manifests that name none.
        cwd: Working directory of the pods' commands.
        mesh: Which mesh it plays, ``istio`` or ``linkerd``.

    Raises:
        BadInput: a bad name or manifest, or a lab of this name is up already.
        EnvironmentBroken: Envoy is missing, or a pod does not get ready; nothing stays behind.
    """
    check_platform()
    check_name(name)
    find_envoy()
    rooms = [room for room, wanted in (("shop", shop), ("vantage", clients)) if wanted]
    objects = replacing(shipped_objects(*rooms), read_objects(manifests, namespace))
    known = {body["metadata"]["name"] for body in objects if body["kind"] == "Namespace"}
    needed = {body["metadata"]["namespace"] for body in objects if "namespace" in body["metadata"]} | {namespace}
    for missing in sorted(needed - known - {"default", "kube-system", "istio-system", "linkerd"}):
        meta = {
            "name": missing,
            "labels": {"istio-injection": "enabled"},
            "annotations": {"linkerd.io/inject": "enabled"},
        }
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    objects.sort(key=lambda body: _ORDER.get(body["kind"], 9))
    with _only_one(name):
        if find(name) is not None:
            raise BadInput(
                "MB0718", f"The lab '{name}' is up already.", help=f"use it, or `meshbdd lab down {name}` first"
            )
        clear(name)
        folder = state_root() / name
        folder.mkdir(parents=True, mode=0o700)
        options = {
            "name": name,
            "folder": str(folder),
            "sockets": str(sockets_folder(name)),
            "images": {image: list(argv) for image, argv in (images or {}).items()},
            "cwd": str(cwd or Path.cwd()),
            "objects": objects,
            "pods": _pods(objects),
            "mesh": mesh,
            "timeout": UP_TIMEOUT.seconds,
        }
        _start(name, folder, options)
        info = find(name)
        if info is None:
            raise EnvironmentBroken(
                "MB0719", f"The lab '{name}' ended right after it came up.", help=f"look at {folder}/lab.log"
            )
        return info


def _start(name: str, folder: Path, options: Mapping[str, Any]) -> None:
    file = folder / OPTIONS
    file.write_text(json.dumps(options))
    with (folder / "lab.err").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "meshbdd.lab.daemon", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        line = _first_line(process, UP_TIMEOUT.seconds + 15)
    except BaseException:
        _end(process.pid, start_time(process.pid))
        clear(name)
        raise
    answer = json.loads(line) if line else {}
    if "ready" in answer:
        return
    process.wait(timeout=30)
    words = (folder / "lab.err").read_text(errors="replace").strip().splitlines()
    error = answer.get("error") or {
        "code": "MB0720",
        "sentence": f"The lab's process ended with exit code {process.returncode}: {(words or ['no output'])[-1]}.",
        "help": "run it again; if it stays so, report it with lab.log",
    }
    clear(name)
    kind: type[MeshbddError] = BadInput if process.returncode == 2 else EnvironmentBroken
    raise kind(error["code"], error["sentence"], help=error["help"])


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> str:
    stream = process.stdout
    assert stream is not None  # noqa: S101 - asked for above
    readable, _, _ = select.select([stream], [], [], seconds)
    if not readable:
        raise EnvironmentBroken(
            "MB0721",
            f"The lab said nothing for {seconds:g} s, and was ended.",
            help="see what keeps this machine so busy",
        )
    return stream.readline().decode()


def _end(pid: int, started: str | None, seconds: float = 15) -> None:
    """End a lab's process in order, or after ``seconds`` by force; the reaper then ends its children."""
    if started is None or start_time(pid) != started:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while _runs(pid, started):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _runs(pid: int, started: str) -> bool:
    # A lab that this process started stays a zombie until it is waited for.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return start_time(pid) == started


def down(name: str = "default") -> bool:
    """Take a lab down: when this returns, no process, file or port of it is left.

    Returns:
        Whether it was up.
    """
    check_name(name)
    with _only_one(name):
        info = find(name)
        if info is not None:
            _end(info.pid, info.started)
        clear(name)
    (state_root() / f".{name}.lock").unlink(missing_ok=True)
    return info is not None
