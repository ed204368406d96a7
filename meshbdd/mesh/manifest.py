"""Reading a manifest that a tester has lying around: safely, wholly, and before anything is written."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput, NotPossible, Place
from meshbdd.mesh.manifest_lines import place_of
from meshbdd.mesh.manifest_shape import check_shape

_WITHOUT_NAMESPACE = {
    "Namespace", "Node", "PersistentVolume", "StorageClass", "ClusterRole", "ClusterRoleBinding",
    "CustomResourceDefinition", "GatewayClass", "IngressClass",
}  # fmt: skip
OF_ISTIO = (
    "VirtualService", "DestinationRule", "PeerAuthentication", "AuthorizationPolicy", "EnvoyFilter", "HTTPRoute",
    "Sidecar",
)  # fmt: skip
OF_LINKERD = (
    "HTTPRoute", "HTTPRoute.policy.linkerd.io", "GRPCRoute", "Service", "Server", "AuthorizationPolicy.policy.linkerd.io",
    "MeshTLSAuthentication", "NetworkAuthentication", "ServerAuthorization", "HTTPLocalRateLimitPolicy", "Deployment",
)  # fmt: skip
"""Deployments, because on Linkerd a fault is a backend of its own."""
ALLOWED = tuple(dict.fromkeys(kind.partition(".")[0] for kind in (*OF_ISTIO, *OF_LINKERD)))
"""What the manifest of a step may hold on some mesh."""

_SUFFIXES = {".yaml", ".yml", ".json"}
_LARGEST_FILE = 1024 * 1024
_MOST_NODES = 100_000
_DEEPEST = 50
_SURELY = 0.85
"""How like a kind's name another has to be to be a misspelling of it: a TCPRoute is no HTTPRoute."""
_SHOWN = 40
"""Characters of a value in a sentence about it."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand once."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As YAML says; a scalar that is like a date or a number, and is none, is told with its line."""
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.MarkedYAMLError(
                problem=f'"{str(node.value)[:_SHOWN]}" cannot be read ({error}); put it in quotes if it is text',
                problem_mark=node.start_mark,
            ) from None


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if not isinstance(key, Hashable):
            raise yaml.MarkedYAMLError(problem="a key is a list or a mapping", problem_mark=key_node.start_mark)
        line = key_node.start_mark.line + 1
        if key in seen:
            raise yaml.MarkedYAMLError(
                problem=f'key "{key}" appears twice (lines {seen[key]} and {line})', problem_mark=key_node.start_mark
            )
        seen[key] = line
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _count(node: Any, depth: int, left: list[int]) -> None:
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        raise ValueError
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        _count(child, depth + 1, left)


def find_manifest(name: str, feature: Path | None, project: Path, mesh: str = "") -> Path:
    """The file of that name beside the feature file, else below the project's root.

    A step names no mesh. Where meshes need different words for the same, each one's file lies in a folder of the mesh's
    name beside the file that the step names: ``manifests/canary.yaml``, ``manifests/linkerd/canary.yaml``.

    Raises:
        BadInput: there is none, or it lies outside of both.
    """
    roots = [root for root in (feature.parent if feature else None, project) if root is not None]
    for root in roots:
        plain = (root / name).resolve()
        for file in (*([plain.parent / mesh / plain.name] if mesh else []), plain):
            if file.is_file() and any(file.is_relative_to(home.resolve()) for home in roots):
                return file
    near = next((found for root in roots if (found := _nearest(name, root, roots))), None)
    raise BadInput(
        "MB0414",
        f'There is no manifest "{name}" in {" or in ".join(str(root) for root in roots)}.',
        help=f'did you mean "{near}"?'
        if near
        else "write its path relative to the feature file or to the project's root",
    )


def _nearest(name: str, root: Path, homes: Iterable[Path]) -> str | None:
    """The manifest that may have been meant by a name: one in the folder that it names, within those where manifests may be."""
    folder = (root / name).resolve().parent
    if not folder.is_dir() or not any(folder.is_relative_to(home.resolve()) for home in homes):
        return None
    there = sorted(file.name for file in folder.iterdir() if file.suffix in _SUFFIXES)
    near = difflib.get_close_matches(Path(name).name, there, 1)
    return str(Path(name).with_name(near[0])) if near else None


def read_manifest(file: Path, namespace: str, mesh: str = "") -> list[dict[str, Any]]:
    """The documents of a manifest that a step may apply; those without a namespace get ``namespace``.

    Args:
        file: The manifest.
        namespace: The default.
        mesh: Whose kinds are told where one is not allowed; those of all, unless said.

    Raises:
        BadInput: as ``read_objects``, or a kind that is not allowed.
    """
    documents = read_objects(file, namespace)
    for document in documents:
        _check_kind(document, file, mesh)
    return documents


def read_objects(file: Path, namespace: str) -> list[dict[str, Any]]:
    """The Kubernetes objects in a file; those without a namespace get ``namespace``, if their kind has namespaces.

    Raises:
        BadInput: not YAML, too large, or no object at all.
    """
    if file.stat().st_size > _LARGEST_FILE:
        raise BadInput("MB0415", f"{file.name} is larger than 1 MiB.", place=Place(file), help="split it")
    try:
        documents = [d for d in yaml.load_all(file.read_text("utf-8-sig"), _Loader) if d is not None]
        for document in documents:
            _count(document, 0, [_MOST_NODES])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or str(error)
        raise BadInput(
            "MB0416",
            f"{file.name} is not valid: {why}.",
            place=Place(file, mark.line + 1 if mark else None),
            help="mend that line",
        ) from None
    except (ValueError, RecursionError, UnicodeDecodeError):
        raise BadInput(
            "MB0417",
            f"{file.name} is no sensible manifest: not text, or it expands without end.",
            place=Place(file),
            help="mend the file",
        ) from None
    documents = [item for document in documents for item in _items(document)]
    if not documents:
        raise BadInput("MB0418", f"{file.name} holds no object.", place=Place(file), help="write one into it")
    for document in documents:
        check_shape(document, file)
        if document["kind"] not in _WITHOUT_NAMESPACE:
            document["metadata"].setdefault("namespace", namespace)
    return documents


def _items(document: Any) -> list[Any]:
    """A document, or the members of a ``List`` as ``kubectl get -o yaml`` prints it."""
    items = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else None
    return items if isinstance(items, list) else [document]


_PROFILE = "ServiceProfile"
_OWN = {"istio": ("Istio", OF_ISTIO), "linkerd": ("Linkerd", OF_LINKERD)}


def kinds_of(mesh: str) -> str:
    """The kinds that a step's manifest may hold on a mesh, as a sentence has them."""
    return ", ".join(dict.fromkeys(kind.partition(".")[0] for kind in _OWN[mesh][1]))


def refuse_foreign(documents: Iterable[Mapping[str, Any]], mesh: str) -> None:
    """See that a mesh has the kinds of a manifest.

    Args:
        documents: The manifest's.
        mesh: The mesh, as settings name it.

    Raises:
        NotPossible: one is another mesh's.
    """
    word, known = _OWN[mesh]
    for document in documents:
        if kind_of(document) not in known:
            name = document["metadata"]["name"]
            raise NotPossible(
                "MB0452",
                f"On {word} meshbdd applies no {document['kind']}, which the manifest's {name} is ({document.get('apiVersion')}).",
                help="let the world have it before the run: on a lab, meshbdd lab up -f"
                if _is_of_the_world(document)
                else f"put {word}'s words for it into a file of the same name in a folder {mesh}/ beside it",
            )


def _is_of_the_world(document: Mapping[str, Any]) -> bool:
    """Whether an object is one of Kubernetes' own, for which a mesh has no other words; a Service may only annotate one."""
    return document.get("apiVersion") in {"v1", "apps/v1"} and "spec" in document


def _check_kind(document: dict[str, Any], file: Path, mesh: str) -> None:
    if document.get("kind") not in ALLOWED:
        if document.get("kind") == _PROFILE and mesh == "linkerd":
            raise BadInput(
                "MB0420",
                f"{file.name} holds a {_PROFILE}, which no step applies: beside one Linkerd ignores routes, and the retries, "
                "timeouts and failure accrual that its Service's annotations ask for.",
                place=place_of(file, document, "kind"),
                help="write what it asks for into a route, or into annotations of the Service",
            )
        kinds = kinds_of(mesh) if mesh else ", ".join(ALLOWED)
        near = difflib.get_close_matches(str(document.get("kind")), kinds.split(", "), 1, _SURELY)
        raise BadInput(
            "MB0420",
            f"{file.name} holds a {document.get('kind')}; only {kinds} may be applied.",
            place=place_of(file, document, "kind"),
            help=f"did you mean {near[0]}?" if near else "take it out of the manifest",
        )
    annotated = document["kind"] == "Service" and "spec" not in document  # one that is there, and is told something
    if not annotated and not isinstance(document.get("spec"), dict):
        raise BadInput(
            "MB0421",
            f"{document['kind']} {document['metadata']['name']} has no spec.",
            place=place_of(file, document),
            help="add it",
        )
