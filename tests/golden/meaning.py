"""Comparing two sidecar configurations by meaning: what is left out, and why, stands here and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from meshbdd.lab.compile import Compiled, Mesh, compile_pod

DATA = Path(__file__).parent / "data"
PODS = ("order-stable-1.shop", "client-1.other")
SECTIONS = ("virtual_hosts", "clusters", "endpoints", "filter_chains", "listeners", "extensions")


def cases() -> list[str]:
    return sorted(path.name for path in (DATA / "istio").iterdir())


def _load(path: Path) -> list[dict[str, Any]]:
    documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
    for number, document in enumerate(documents):
        document["metadata"].setdefault("namespace", "shop") if document["kind"] != "Namespace" else None
        # Objects of one file were created one after the other.
        document["metadata"].setdefault("creationTimestamp", f"2026-01-01T00:00:{number:02d}Z")
    return documents


def world() -> list[dict[str, Any]]:
    documents = _load(DATA / "world.yaml")
    for document in documents:
        document["metadata"].pop("creationTimestamp", None)
    return documents


def compiled(case: str, pod: str) -> Compiled:
    mesh = Mesh.read([*world(), *_load(DATA / "istio" / case / "in.yaml")])
    name, _, namespace = pod.partition(".")
    return compile_pod(mesh, name, namespace)


def golden(case: str, pod: str) -> dict[str, dict[str, Any]]:
    """The whole configuration of a pod in a case: case 01 with the case's difference applied."""
    whole = json.loads((DATA / "istio" / "01-no-config" / "out.json").read_text())[pod]
    if case == "01-no-config":
        return {section: whole.get(section, {}) for section in SECTIONS}
    difference = json.loads((DATA / "istio" / case / "out.json").read_text())
    mine = difference.get(pod, {})
    if mine == "same":
        mine = difference["order-stable-1.shop"]
    result = {}
    for section in SECTIONS:
        result[section] = {**whole.get(section, {}), **mine.get(section, {})}
        for name in mine.get("gone", {}).get(section, []):
            result[section].pop(name, None)
    return result


_DROPPED = {
    "decorator", "tracing", "stat_prefix", "alt_stat_name", "access_log",
}  # fmt: skip


def _is_foreign(node: Any) -> bool:
    """Istio's own filters, which an upstream Envoy does not have; CORS, which says nothing here."""
    name = str(node.get("name", "")) if isinstance(node, dict) else ""
    return name.startswith("istio.") or name in {"envoy.filters.http.cors", "envoy.tcp.metadataexchange"}


def _metadata(node: dict[str, Any]) -> dict[str, Any]:
    """Of metadata only the TLS mode counts, and what an EnvoyFilter adds."""
    kept = {k: v for k, v in node.get("filter_metadata", {}).items() if k != "istio"}
    return {"filter_metadata": kept} if kept else {}


def plain(node: Any) -> Any:
    """A configuration without what has no meaning for a client, and with defaults said one way."""
    if isinstance(node, list):
        return [plain(item) for item in node if not _is_foreign(item)]
    if not isinstance(node, dict):
        return node
    made = {}
    for key, value in node.items():
        if key in _DROPPED:
            continue
        kept = _metadata(value) if key == "metadata" else plain(value)
        if kept in ({}, [], None) and key in {"metadata", "filters", "http_filters"}:
            continue
        made[key] = kept
    return made


def _port_chains(chains: dict[str, Any]) -> dict[str, Any]:
    """Inbound chains by container port; catch-all chains by their match. The index in the key is only their order."""
    return {
        json.dumps(chain.get("filter_chain_match", {}), sort_keys=True) + " " + key.partition(" / ")[0]: plain(chain)
        for key, chain in chains.items()
    }


def meaning(config: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        "virtual_hosts": {name: plain(host) for name, host in config["virtual_hosts"].items()},
        "clusters": {name: plain(cluster) for name, cluster in config["clusters"].items()},
        "endpoints": {name: plain(places) for name, places in config["endpoints"].items()},
        "filter_chains": _port_chains(config["filter_chains"]),
        "listeners": {name: plain(listener) for name, listener in config["listeners"].items()},
        "extensions": config.get("extensions", {}),
    }


def differences(mine: Any, theirs: Any, path: str = "") -> list[str]:
    """Every place where two configurations differ, as sentences."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [
            line
            for key in sorted({*mine, *theirs})
            if mine.get(key) != theirs.get(key) or (key in mine) != (key in theirs)
            for line in (
                differences(mine[key], theirs[key], f"{path}.{key}")
                if key in mine and key in theirs
                else [
                    f"{path}.{key}: {'only the lab' if key in mine else 'only Istio'}: {json.dumps(mine.get(key, theirs.get(key)))[:300]}"
                ]
            )
        ]
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        return [
            line
            for i, (a, b) in enumerate(zip(mine, theirs, strict=True))
            for line in differences(a, b, f"{path}[{i}]")
        ]
    return [] if mine == theirs else [f"{path}: the lab {json.dumps(mine)[:300]} / Istio {json.dumps(theirs)[:300]}"]
