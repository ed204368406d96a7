"""The generators of the page: found on this machine, and fetched once into the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from meshbdd.errors import EnvironmentBroken

ALLURE_3 = "3.18.0"
LEAST_NODE = (20, 19)
"""What Allure 3.18's own packages ask for; Debian 12 ships Node.js 18."""

ALLURE_2 = "2.34.1"
LEAST_JAVA = 8
_ALLURE_2_SHA256 = "6eb2e037604744d4ba1f9cad3676cf286974aca48f7839d9b2f7688e1efd79f2"
_MAVEN = "https://repo.maven.apache.org/maven2"
"""Maven Central; ``MESHBDD_MAVEN`` names a mirror."""

_FETCH_SECONDS = 300.0
_BUILD_SECONDS = 300.0


def cache() -> Path:
    """Where fetched tools stay: ``$XDG_CACHE_HOME/meshbdd``.

    Raises:
        EnvironmentBroken: it is not set, and this user has no home.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshbdd"
    except RuntimeError:  # a container's user that is in no list of users
        raise EnvironmentBroken(
            "MB0811", "There is no cache for what makes the page: this user has no home folder, and HOME is not set.",
            help="set XDG_CACHE_HOME to a folder that can be written",
        ) from None  # fmt: skip


def node_version() -> tuple[int, ...] | None:
    """The version of Node.js; ``None`` where there is none."""
    return _version(["node", "--version"], r"v(\d+)\.(\d+)\.(\d+)")


def java_version() -> tuple[int, ...] | None:
    """The version of Java, 8 for ``1.8``; ``None`` where there is none."""
    return _version(["java", "-version"], r'version "(?:1\.)?(\d+)')


def _version(command: Sequence[str], pattern: str) -> tuple[int, ...] | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, ran.stdout + ran.stderr)
    return tuple(int(part) for part in found.groups()) if found and ran.returncode == 0 else None


def allure_3() -> Path:
    """The command file of Allure 3, to be run by Node.js; fetched with npm on first use.

    Raises:
        EnvironmentBroken: it is not in the cache and cannot be fetched.
    """
    folder = cache() / f"allure-{ALLURE_3}"
    command = folder / "node_modules" / "allure" / "cli.js"
    with _fetching(folder) as staging:
        if staging is not None:
            npm = shutil.which("npm")
            if npm is None:
                raise EnvironmentBroken(
                    "MB0810", f"Allure {ALLURE_3} is fetched with npm on first use, and npm is not here.",
                    help="install npm (it comes with Node.js), then: meshbdd report",
                )  # fmt: skip
            (staging / "package.json").write_text('{"private": true}\n')
            options = ["--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts", "--loglevel=error"]
            _run(
                [npm, "install", *options, f"allure@{ALLURE_3}"],
                staging,
                _FETCH_SECONDS,
                "npm could not fetch Allure 3",
            )
    return command


def allure_2() -> Path:
    """The folder of Allure 2; fetched from Maven Central on first use, its checksum known.

    Raises:
        EnvironmentBroken: it is not in the cache and cannot be fetched.
    """
    folder = cache() / f"allure-{ALLURE_2}"
    with _fetching(folder) as staging:
        if staging is not None:
            base = os.environ.get("MESHBDD_MAVEN", _MAVEN).rstrip("/")
            name = f"allure-commandline-{ALLURE_2}.zip"
            _download(f"{base}/io/qameta/allure/allure-commandline/{ALLURE_2}/{name}", staging / name)
            with zipfile.ZipFile(staging / name) as archive:
                archive.extractall(staging)
            (staging / name).unlink()
    return folder / f"allure-{ALLURE_2}"


@contextlib.contextmanager
def _fetching(folder: Path) -> Iterator[Path | None]:
    """A folder to fetch into, which takes its place when it is whole; ``None`` where it is there already."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / f"{folder.name}.lock").open("w")
    except OSError as error:
        raise EnvironmentBroken(
            "MB0811", f"The cache {folder.parent} cannot be written: {error.strerror}.",
            help="set XDG_CACHE_HOME to a folder that can be",
        ) from None  # fmt: skip
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two reports at once fetch once
        if folder.is_dir():
            yield None
            return
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as staging:
            whole = Path(staging) / "whole"
            whole.mkdir()
            yield whole
            whole.rename(folder)


def _download(url: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - its checksum decides, not its origin
            body = answer.read()
    except (OSError, urllib.error.URLError) as error:
        raise EnvironmentBroken(
            "MB0812", f"Allure {ALLURE_2} could not be fetched from {url}: {error}.",
            help="see to the network, or set MESHBDD_MAVEN to a mirror of Maven Central",
        ) from None  # fmt: skip
    found = hashlib.sha256(body).hexdigest()
    if found != _ALLURE_2_SHA256:
        raise EnvironmentBroken(
            "MB0813", f"{url} is not Allure {ALLURE_2}: its SHA-256 is {found}.", help="name another mirror"
        )
    target.write_bytes(body)


def run_generator(command: Sequence[str], cwd: Path) -> str:
    """Run a generator and give what it said.

    Raises:
        EnvironmentBroken: it failed.
    """
    return _run(command, cwd, _BUILD_SECONDS, "Allure could not build the page")


def _run(command: Sequence[str], cwd: Path, seconds: float, told: str) -> str:
    environment = {**os.environ, "ALLURE_NO_ANALYTICS": "1", "NO_COLOR": "1"}
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=seconds, check=False
        )
        why = (ran.stderr or ran.stdout).strip()
        if ran.returncode == 0:
            return ran.stdout
    except subprocess.TimeoutExpired:
        why = f"no end after {seconds:.0f} s"
    except OSError as error:
        why = str(error.strerror)
    lines = [line for line in why.splitlines() if line.strip()]
    raise EnvironmentBroken("MB0814", f"{told}: {' '.join(lines[:3])[:400]}", help="mend that and run: meshbdd report")
