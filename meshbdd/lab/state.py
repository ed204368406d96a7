"""What is known of the labs of this user on this machine: a folder for each, independent of the working directory."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.lab.reaper import start_time

OPTIONS = "options.json"
"""File in a lab's folder: what it is started with."""


def state_root(environment: Mapping[str, str] | None = None) -> Path:
    """``$XDG_STATE_HOME/meshbdd/labs``: https://specifications.freedesktop.org/basedir-spec/"""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "meshbdd" / "labs"


@dataclass(frozen=True, slots=True)
class LabInfo:
    """A lab that runs.

    Attributes:
        name: Its name.
        pid: Process id of the lab.
        started: Start of that process in clock ticks since boot; makes the id unique.
        url: Address of its Kubernetes API.
        folder: Its state folder.
        prometheus: Address of its Prometheus; ``None`` without one.
        mesh: Which mesh it plays.
    """

    name: str
    pid: int
    started: str
    url: str
    folder: Path
    prometheus: str | None = None
    mesh: str = "istio"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that leads to its API."""
        return self.folder / "kubeconfig"

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return start_time(self.pid) == self.started

    def save(self) -> None:
        """Write it into its folder, whole or not at all."""
        text = json.dumps({**asdict(self), "folder": str(self.folder)}, indent=2)
        part = self.folder / "lab.json.part"
        part.write_text(text + "\n")
        part.replace(self.folder / "lab.json")


def check_name(name: str) -> str:
    """A lab's name is a DNS label, since it becomes a folder and a kubeconfig context.

    Raises:
        BadInput: it is not.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
        raise BadInput(
            "MB0710",
            f"'{name}' is no name for a lab: it takes lower-case letters, digits and hyphens, 32 at the most.",
            help="name it for example `staging`",
        )
    return name


def check_platform() -> None:
    """The lab needs Linux's loopback network and ``/proc``.

    Raises:
        EnvironmentBroken: on another system.
    """
    if not sys.platform.startswith("linux"):
        raise EnvironmentBroken(
            "MB0711",
            f"The lab runs on Linux; this is {sys.platform}, whose loopback has 127.0.0.1 alone.",
            help="run it in a Linux virtual machine or container, or use --target cluster",
        )


def _read(folder: Path) -> LabInfo | None:
    try:
        data = json.loads((folder / "lab.json").read_text())
        return LabInfo(**{**data, "folder": folder})
    except (OSError, ValueError, TypeError):
        return None


def find(name: str) -> LabInfo | None:
    """The running lab of that name."""
    info = _read(state_root() / check_name(name))
    return info if info is not None and info.alive else None


def running() -> list[LabInfo]:
    """Every running lab of this user, by name."""
    return sorted(_running(), key=lambda info: info.name)


def _running() -> Iterator[LabInfo]:
    root = state_root()
    for folder in root.iterdir() if root.is_dir() else ():
        info = _read(folder)
        if info is not None and info.alive:
            yield info


def sockets_folder(name: str) -> Path:
    """A name for the folder of a lab's Unix sockets, whose paths must be short: the state folder may lie deep below a
    home directory. ``lifecycle.up`` writes it down before the lab makes it, so that no end of the lab can lose it.
    """
    return Path(tempfile.gettempdir()) / f"meshbdd-{name}-{secrets.token_hex(4)}"


def clear(name: str) -> None:
    """Remove what a lab left behind; its process is gone."""
    folder = state_root() / check_name(name)
    try:
        sockets = Path(json.loads((folder / OPTIONS).read_text())["sockets"])
    except (OSError, ValueError, TypeError, KeyError):  # it ended before it had any
        pass
    else:
        if sockets.name.startswith(f"meshbdd-{name}-"):
            shutil.rmtree(sockets, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
