"""Linkerd's recorded answers, the lab's, and comparing the two by meaning."""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from meshbdd.lab.compile import Compiled
from meshbdd.lab.linkerd.command import compile_files
from meshbdd.lab.linkerd.envoy.pod import Compiler
from meshbdd.lab.linkerd.installed import settings_of
from meshbdd.lab.linkerd.policies import Policies

DATA = Path(__file__).parent / "data" / "linkerd"
SECTIONS = ("outbound", "inbound", "profile", "endpoints", "status", "admission", "schema", "log")
"""All of the recorded sections are compared but ``config``, which is a setting that goes in."""


def cases() -> list[str]:
    return sorted(path.name for path in DATA.iterdir() if path.is_dir())


def key(obj: dict[str, Any]) -> tuple[str, str, str, str]:
    meta = obj["metadata"]
    return obj["apiVersion"].rpartition("/")[0], obj["kind"], meta.get("namespace", ""), meta["name"]


def resources(case: str) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all((DATA / case / "in.yaml").read_text()) if d]


@functools.cache
def world() -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all((DATA / "world.yaml").read_text()) if d]


def with_world(own: list[dict[str, Any]]) -> list[dict[str, Any]]:
    replaced = {key(obj) for obj in own}
    return copy.deepcopy([*(obj for obj in world() if key(obj) not in replaced), *own])


def installed(case: str) -> list[dict[str, Any]]:
    """The setting other than the default with which a case was recorded, as a control plane tells it."""
    config = golden(case).get("config")
    if not config:
        return []
    values: dict[str, Any] = {}
    if "default_policy" in config:
        values["proxy"] = {"defaultInboundPolicy": config["default_policy"]}
    if config.get("allow_l5d_request_headers"):
        values["policyController"] = {"additionalArgs": ["--allow-l5d-request-headers"]}
    meta = {"name": "linkerd-config", "namespace": "linkerd"}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"values": yaml.safe_dump(values)}}]


def _expanded(node: Any, siblings: dict[str, Any] | None) -> Any:
    """``same as X`` stands for the value of X beside it."""
    if isinstance(node, str) and node.startswith("same as ") and siblings is not None:
        return _expanded(siblings[node.removeprefix("same as ")], siblings)
    if isinstance(node, dict):
        return {name: _expanded(value, node) for name, value in node.items()}
    if isinstance(node, list):
        return [_expanded(value, None) for value in node]
    return node


def golden(case: str) -> dict[str, Any]:
    return _expanded(json.loads((DATA / case / "out.json").read_text()), None)


@functools.cache
def _compiled(case: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "linkerd-config.yaml"
        config.write_text(yaml.safe_dump_all(installed(case)))
        files = [DATA / case / "in.yaml", *([config] if installed(case) else [])]
        return json.dumps(compile_files(files, DATA / "world.yaml"))


def told(case: str) -> dict[str, Any]:
    """Everything that ``meshbdd lab compile --mesh linkerd`` says of a case."""
    made: dict[str, Any] = json.loads(_compiled(case))
    return made


def mine(case: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The command's answers to the questions that were asked in a case, and all else that it says."""
    made = told(case)
    for section in ("outbound", "inbound", "profile", "endpoints"):
        made[section] = {question: made[section].get(question) for question in asked.get(section, {})}
    return made


PODS = (("shop", "order-stable-1"), ("other", "client-1"))
"""A server's pod and a client's, whose sidecars are looked at."""


@functools.cache
def policies_of(case: str) -> Policies:
    """What Linkerd makes of a case's world."""
    return Policies(with_world(resources(case)), settings_of(installed(case)))


def compiled_for(case: str, namespace: str, name: str) -> Compiled:
    """What a pod's sidecar is sent in a case."""
    return Compiler(policies_of(case)).compile(name, namespace)


def _order(node: Any) -> str:
    return json.dumps(node, sort_keys=True)


_SETS = {"authorizations", "networks", "except", "identities", "suffixes", "addrs", "conditions"}
"""Lists whose order means nothing; the recording sorted some of them."""


def meaning(node: Any, name: str = "") -> Any:
    """An answer without what no proxy sees."""
    if isinstance(node, dict):
        return {key: meaning(value, key) for key, value in node.items()}
    if isinstance(node, list):
        plain = [meaning(value) for value in node]
        return sorted(plain, key=_order) if name in _SETS else plain
    return float(node) if isinstance(node, int) and not isinstance(node, bool) else node


def comparable(answers: dict[str, Any]) -> dict[str, Any]:
    made = {name: meaning(answers.get(name) or {}) for name in SECTIONS}
    made["log"] = sorted(answers.get("log") or [])
    # A definition's sentence is the API server's own; that the field is refused, and which, is what counts.
    made["schema"] = {
        title: sorted({line.partition(": ")[0] for line in lines})
        for title, lines in (answers.get("schema") or {}).items()
    }
    return made
