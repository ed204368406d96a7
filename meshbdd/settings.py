"""What can be set, from where: ``[tool.meshbdd]`` in pyproject.toml, then ``MESHBDD_*``, then ``-D name=value``.

Later sources win. Every setting carries its unit and the reason for its default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from meshbdd.errors import BadInput, Place
from meshbdd.units import Duration


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a run."""

    target: str = "lab"
    """Where the scenarios run, ``lab`` or ``cluster``. The lab, so that nobody hits a cluster by accident."""

    lab: str = "default"
    """Name of the lab; labs of different names run side by side."""

    mesh: str = "auto"
    """``istio``, ``linkerd``, or ``auto``: the one that is installed. A lab that is started for a run plays Istio then."""

    namespace: str | None = None
    """Default namespace of services and manifests; ``None``: the kubeconfig context's (the lab's is ``shop``)."""

    context: str | None = None
    """Kubeconfig context on a cluster; ``None``: the current one."""

    gate_timeout: Duration = Duration(10)
    """How long a change may take to reach every calling proxy. A small cluster needs 1-2 s; a large one several."""

    request_timeout: Duration = Duration(30)
    """How long one request of the tester may take in all. Longer than service timeouts, so that it decides no claim."""

    prometheus: str | None = None
    """URL of the Prometheus that queries go to; ``None``: the lab's own, or Istio's addon inside the cluster."""

    enough_timeout: Duration = Duration(60)
    """How long one claim may draw the requests that it needs (``enough "…" requests are sent``); then it is inconclusive.
    At 100 requests a second a minute is enough for every claim but those on the p99.9."""

    undo_budget: Duration = Duration(120)
    """How long an undo may be retried before the run ends as "restore incomplete"."""

    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lab only: container image -> command on this machine."""

    project: Path = Path()
    """Folder that holds the pyproject.toml the settings came from; manifests are looked up here too."""


_NAMES = {f.name for f in fields(Settings)} - {"project"}


def _convert(name: str, value: Any, place: Place | None, source: str) -> Any:
    if name == "images":
        if not isinstance(value, dict):
            raise BadInput(
                "MB0210",
                f"{source} 'images' must be a table of image = [command, ...].",
                place=place,
                help="write [tool.meshbdd.images]",
            )
        return {str(k): tuple(v.split() if isinstance(v, str) else map(str, v)) for k, v in value.items()}
    if name in {"gate_timeout", "request_timeout", "enough_timeout", "undo_budget"}:
        return Duration.parse(str(value))
    if not isinstance(value, str):
        raise BadInput(
            "MB0211", f"{source} '{name}' must be text, not {value!r}.", place=place, help=f'write {name} = "…"'
        )
    allowed = {"target": ("lab", "cluster"), "mesh": ("auto", "istio", "linkerd")}.get(name)
    if allowed and value not in allowed:
        raise BadInput(
            "MB0212",
            f"{source} '{name}' is '{value}', which is none of: {', '.join(allowed)}.",
            place=place,
            help=f"set {name} to {allowed[0]} or {allowed[1]}",
        )
    return value


def _apply(settings: Settings, values: Mapping[str, Any], source: str, place: Place | None = None) -> Settings:
    changes = {}
    for raw, value in values.items():
        name = raw.replace("-", "_")
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, 1)
            raise BadInput(
                "MB0213",
                f"{source} '{raw}' is not a setting of meshbdd.",
                place=place,
                help=f"did you mean '{near[0]}'?" if near else f"use one of: {', '.join(sorted(_NAMES))}",
            )
        changes[name] = _convert(name, value, place, source)
    return replace(settings, **changes)


def find_project(start: Path) -> Path:
    """The nearest folder from ``start`` upwards with a pyproject.toml, else ``start``."""
    start = start.resolve()
    return next((folder for folder in (start, *start.parents) if (folder / "pyproject.toml").is_file()), start)


def load_settings(
    start: Path | None = None, environment: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings for a run that starts in ``start``.

    Args:
        start: Folder to look from; the current one where ``None``.
        environment: Environment variables; those of the process where ``None``.
        options: Values from the command line (``-D name=value``), keys without prefix; unknown keys are refused.

    Raises:
        BadInput: an unknown setting, or a value of the wrong form.
    """
    project = find_project(start or Path.cwd())
    settings = Settings(project=project)
    file = project / "pyproject.toml"
    if file.is_file():
        try:
            table = tomllib.loads(file.read_text("utf-8")).get("tool", {}).get("meshbdd", {})
        except tomllib.TOMLDecodeError as error:
            raise BadInput(
                "MB0214", f"{file.name} is not valid TOML: {error}.", place=Place(file), help="mend the file"
            ) from None
        settings = _apply(settings, table, "The setting", Place(file))
    environment = os.environ if environment is None else environment
    known = {
        name: environment[f"MESHBDD_{name.upper()}"]
        for name in _NAMES - {"images"}
        if environment.get(f"MESHBDD_{name.upper()}")
    }
    settings = _apply(settings, known, "The environment's setting")
    return _apply(settings, options or {}, "The option")
