"""From a container to a command on this machine: its argv, environment and files.

``command`` runs as it stands; an ``image`` without one is looked up in ``[tool.meshbdd.images]``. ``$(VAR)`` is
expanded as Kubernetes does (``$$`` escapes, unknown names stay). Volumes appear below the pod's own folder, since the
lab has no file system of its own: where a mount path stands in command, args or environment, the real folder is put in
its place.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshbdd.lab.addresses import private_side

BUILT_IN_IMAGES: dict[str, tuple[str, ...]] = {
    "meshbdd/shop": (sys.executable, "-m", "meshbdd.lab.shop"),
    "meshbdd/client": (sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"),
    "envoyproxy/envoy": (sys.executable, "-m", "meshbdd.lab.stock_envoy"),
}
"""Images that come with the lab: the demo shop, a client that only holds its sidecar, and the Envoy that it has anyway."""

_KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")

Lookup = Callable[[str, str, str], Mapping[str, Any] | None]
"""Resource, namespace and name → the object, or ``None``."""


class CannotRun(Exception):
    """A container that cannot be started; ``reason`` is Kubernetes' word for it, the text says why and what helps."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Command:
    """What is started for a container."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path


def expand(text: str, values: Mapping[str, str]) -> str:
    """Expand ``$(VAR)`` as Kubernetes does."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def _image_command(image: str, images: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
    bare = image.partition("@")[0]
    head, _, tag = bare.rpartition(":")
    untagged = head if head and "/" not in tag else bare
    for name in (image, bare, untagged):
        if name in images:
            return images[name]
    return BUILT_IN_IMAGES.get(untagged)


def find_argv(container: Mapping[str, Any], images: Mapping[str, Sequence[str]]) -> list[str]:
    """The argv of a container before expansion.

    Raises:
        CannotRun: neither a command nor a mapped image.
    """
    command, args = list(container.get("command") or []), list(container.get("args") or [])
    if command:
        return [*command, *args]
    image = str(container.get("image", ""))
    mapped = _image_command(image, images)
    if mapped is None:
        raise CannotRun(
            "ImagePullBackOff",
            f'The lab runs no container images, and "{image}" has no command on this machine: give the container '
            f'a `command`, or map the image in pyproject.toml: [tool.meshbdd.images] "{image}" = ["python", "app.py"].',
        )
    return [*mapped, *args]


def _source_value(source: Mapping[str, Any], pod: Mapping[str, Any], lookup: Lookup) -> str | None:
    namespace = pod["metadata"]["namespace"]
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    for key, resource in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if key not in source:
            continue
        ref = source[key]
        found = lookup(resource, namespace, ref["name"])
        value = _data(found, resource).get(ref["key"]) if found else None
        if value is None:
            if ref.get("optional"):
                return None
            kind = resource.removesuffix("s")
            raise CannotRun("CreateContainerConfigError", f'{kind} "{ref["name"]}" has no key "{ref["key"]}"')
        return value.decode()
    raise CannotRun("CreateContainerConfigError", f"the lab does not know valueFrom.{next(iter(source), '')}")


def _field(pod: Mapping[str, Any], path: str) -> str:
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if keyed:
        return str((pod["metadata"].get(keyed[1]) or {}).get(keyed[2], ""))
    node: Any = pod
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if node is None or isinstance(node, Mapping | list):
        if path in {"status.hostIP", "spec.nodeName"}:
            return ""
        raise CannotRun("CreateContainerConfigError", f'the pod has no field "{path}"')
    return str(node)


def _data(found: Mapping[str, Any], resource: str) -> dict[str, bytes]:
    if resource == "secrets":
        data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        return {**data, **{key: str(value).encode() for key, value in (found.get("stringData") or {}).items()}}
    data = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
    return {**data, **{key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}}


def _declared(container: Mapping[str, Any], pod: Mapping[str, Any], lookup: Lookup, known: dict[str, str]) -> None:
    namespace = pod["metadata"]["namespace"]
    for source in container.get("envFrom") or []:
        for key, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if key not in source:
                continue
            found = lookup(resource, namespace, source[key]["name"])
            if found is None and not source[key].get("optional"):
                raise CannotRun(
                    "CreateContainerConfigError", f'{resource.removesuffix("s")} "{source[key]["name"]}" not found'
                )
            for name, content in _data(found or {}, resource).items():
                known[source.get("prefix", "") + name] = content.decode()
    for entry in container.get("env") or []:
        value = entry.get("value")
        if value is None and "valueFrom" in entry:
            value = _source_value(entry["valueFrom"], pod, lookup)
            if value is None:
                continue
        known[entry["name"]] = expand(str(value or ""), known)


def place_volumes(pod: Mapping[str, Any], folder: Path, lookup: Lookup) -> dict[str, Path]:
    """Write the pod's volumes below ``folder``; volume name → its folder.

    Raises:
        CannotRun: a volume of a kind that the lab does not have, or one whose source is missing.
    """
    places = {}
    for volume in pod["spec"].get("volumes") or []:
        place = folder / "volumes" / volume["name"]
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        places[volume["name"]] = place
        if "emptyDir" in volume:
            continue
        for key, resource, name_key in (("configMap", "configmaps", "name"), ("secret", "secrets", "secretName")):
            if key not in volume:
                continue
            source = volume[key]
            found = lookup(resource, pod["metadata"]["namespace"], source[name_key])
            if found is None and not source.get("optional"):
                raise CannotRun(
                    "CreateContainerConfigError", f'{key} "{source[name_key]}" of volume "{volume["name"]}" not found'
                )
            data = _data(found or {}, resource)
            wanted = [(item["key"], item["path"]) for item in source.get("items") or []] or [(k, k) for k in data]
            for name, path in wanted:
                target = (place / path).resolve()
                if not target.is_relative_to(place.resolve()) or name not in data:
                    raise CannotRun("CreateContainerConfigError", f'volume "{volume["name"]}" has no file "{path}"')
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data[name])
            break
        else:
            kind = next((key for key in volume if key != "name"), "?")
            raise CannotRun(
                "CreateContainerConfigError",
                f'the lab has no volumes of kind "{kind}" (has configMap, secret, emptyDir)',
            )
    return places


def build(
    container: Mapping[str, Any],
    pod: Mapping[str, Any],
    *,
    images: Mapping[str, Sequence[str]],
    volumes: Mapping[str, Path],
    data: Path,
    lookup: Lookup,
    cwd: Path,
    home: str,
    outbound_port: int,
) -> Command:
    """Everything that is needed to start one container.

    Args:
        container: The container of the pod's spec.
        pod: The pod; its ``status.podIP`` is set.
        images: Image → command, from the settings.
        volumes: Volume name → folder, as ``place_volumes`` wrote them.
        data: Folder shared by all pods of the lab, ``LAB_DATA`` in the environment.
        lookup: Reads ConfigMaps and Secrets.
        cwd: Working directory where the container names none.
        home: Address at which the application listens.
        outbound_port: Where the pod's way out is, at its private address.

    Raises:
        CannotRun: with Kubernetes' reason and a sentence.
    """
    pod_ip = pod["status"]["podIP"]
    ports = [port["containerPort"] for port in container.get("ports") or []]
    proxy = f"http://{private_side(pod_ip)}:{outbound_port}"
    known = {name: os.environ[name] for name in _KEPT if name in os.environ}
    known |= {"HOST": home, "HOSTNAME": pod["metadata"]["name"], "LAB_DATA": str(data), "PYTHONUNBUFFERED": "1"}
    if ports:
        known["PORT"] = str(ports[0])
    around = f"{home},{pod_ip},localhost,127.0.0.1"
    known |= {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": around, "NO_PROXY": around}
    _declared(container, pod, lookup, known)
    mounts = {
        m["mountPath"].rstrip("/"): volumes[m["name"]]
        for m in container.get("volumeMounts") or []
        if m["name"] in volumes
    }

    def placed(text: str) -> str:
        for path, folder in sorted(mounts.items(), key=lambda item: -len(item[0])):
            text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?=/|$|[\s:,;\"'])", str(folder), text)
        return text

    argv = tuple(placed(expand(str(word), known)) for word in find_argv(container, images))
    environment = {name: placed(value) for name, value in known.items()}
    work = Path(placed(container["workingDir"])) if container.get("workingDir") else cwd
    if not work.is_dir():
        raise CannotRun("CreateContainerError", f'workingDir "{work}" does not exist on this machine')
    if shutil.which(argv[0], path=environment.get("PATH")) is None and not Path(work, argv[0]).is_file():
        raise CannotRun(
            "CreateContainerError",
            f'"{argv[0]}" (of `{shlex.join(argv)}`) is no command on this machine; install it or write its full path.',
        )
    return Command(argv, environment, work)
