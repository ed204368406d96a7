"""``meshbdd report``: with Node.js, with Java alone, and with neither."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshbdd.report.page import tools
from tests.report.toy import ALL, Toy, statuses


def _has_node() -> bool:
    version = tools.node_version()
    return version is not None and version >= tools.LEAST_NODE and shutil.which("npm") is not None


node = pytest.mark.skipif(not _has_node(), reason="Node.js 20.19 or newer with npm is not here")
java = pytest.mark.skipif(tools.java_version() is None, reason="Java is not here")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    toy = Toy(tmp_path_factory.mktemp("toy"), {"a.feature": ALL})
    assert toy.run().returncode == 3
    return toy


def report(
    *arguments: str, cwd: Path, path: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, **environment}
    if path is not None:
        known["PATH"] = str(path)
    command = [sys.executable, "-m", "meshbdd", "report", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=known, timeout=110, check=False)


def only(folder: Path, **programs: str) -> Path:
    """A folder for PATH that holds these programs alone: a name of an installed one, or a script."""
    folder.mkdir()
    for name, text in programs.items():
        if text:
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        else:
            (folder / name).symlink_to(shutil.which(name) or "/nowhere")
    return folder


def _page(done: subprocess.CompletedProcess[str], output: Path) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    text = (output / "index.html").read_text()
    assert "googletagmanager" not in text
    assert "gtag(" not in text
    return text


@node
@pytest.mark.timeout(240)  # npm fetches on first use
def test_node_builds_one_page_and_keeps_the_history(toy: Toy, tmp_path: Path) -> None:
    output = tmp_path / "page"
    _page(report(str(toy.results), "-o", "page", cwd=tmp_path), output)
    assert len(list(output.glob("*.html"))) == 1
    history = output / "history" / "history.jsonl"
    report(str(toy.results), "-o", "page", cwd=tmp_path)
    assert len(history.read_text().splitlines()) == 1, "the same results again are no further run"
    again = Toy(tmp_path / "again", {"a.feature": ALL})
    again.run()
    done = report("../again/allure-results", "-o", "../page", "--json", cwd=(tmp_path / "again"))
    told = json.loads(done.stdout)
    assert told["tool"] == f"Allure {tools.ALLURE_3}"
    assert Path(told["page"]) == output / "index.html"
    runs = [json.loads(line) for line in history.read_text().splitlines()]
    assert len(runs) == 2
    assert set(runs[0]["testResults"]) == set(runs[1]["testResults"]), "the same scenarios are known again"


@java
@pytest.mark.timeout(240)
def test_java_alone_builds_a_page_too(toy: Toy, tmp_path: Path) -> None:
    done = report(str(toy.results), cwd=tmp_path, path=only(tmp_path / "bin", java=""))
    _page(done, tmp_path / "allure-report")
    assert f"Allure {tools.ALLURE_2}" in done.stdout
    assert (tmp_path / "allure-report" / "history" / "history.json").exists()


def test_with_neither_it_says_how_and_leaves_everything(toy: Toy, tmp_path: Path) -> None:
    before = statuses(toy.results)
    done = report(str(toy.results), cwd=tmp_path, path=only(tmp_path / "bin"))
    assert done.returncode == 4
    assert "MB0815" in done.stderr
    assert "help: install Node.js 20.19 or newer, or Java 8 or newer, then: meshbdd report" in done.stderr
    assert statuses(toy.results) == before
    assert {"run.json", "junit.xml"} <= {file.name for file in (toy.results / "meshbdd").iterdir()}


def test_an_old_node_is_named_with_the_version_that_it_should_be(toy: Toy, tmp_path: Path) -> None:
    done = report(str(toy.results), cwd=tmp_path, path=only(tmp_path / "bin", node="echo v18.20.4"))
    assert done.returncode == 4
    assert "Node.js 18.20.4 is too old (at least 20.19)" in done.stderr


@pytest.mark.parametrize(
    ("npm", "code", "words"),
    [("", "MB0810", "npm is not here"), ("echo 'npm error network' >&2; exit 1", "MB0814", "npm error network")],
)
def test_npm_missing_or_failing_is_one_sentence(toy: Toy, tmp_path: Path, npm: str, code: str, words: str) -> None:
    programs = {"node": "echo v22.1.0", **({"npm": npm} if npm else {})}
    done = report(str(toy.results), cwd=tmp_path, path=only(tmp_path / "bin", **programs), XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 4
    assert code in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "meshbdd").glob("allure-*[0-9]")), "half a tool is none"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """A Maven mirror whose Allure is not Allure."""
    name = f"io/qameta/allure/allure-commandline/{tools.ALLURE_2}/allure-commandline-{tools.ALLURE_2}.zip"
    (tmp_path / "maven" / name).parent.mkdir(parents=True)
    (tmp_path / "maven" / name).write_bytes(b"something else")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "maven"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(("folder", "code"), [("", "MB0813"), ("/nothing-here", "MB0812")])
def test_a_download_that_is_not_what_it_should_be(
    toy: Toy, tmp_path: Path, mirror: str, folder: str, code: str
) -> None:
    path = only(tmp_path / "bin", java="echo 'openjdk version \"17.0.1\"' >&2")
    done = report(
        str(toy.results), cwd=tmp_path, path=path, XDG_CACHE_HOME=str(tmp_path), MESHBDD_MAVEN=mirror + folder
    )
    assert done.returncode == 4
    assert code in done.stderr


def test_nothing_to_report_and_nowhere_to_write(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    (tmp_path / "file").touch()
    (tmp_path / "diary" / "history").mkdir(parents=True)
    (tmp_path / "diary" / "history" / "1984.txt").write_text("mine")
    for arguments, code in (
        (["nowhere"], "MB0816"),
        (["empty"], "MB0817"),
        ([str(toy.results), "-o", "mine"], "MB0818"),
        ([str(toy.results), "-o", "file/below"], "MB0819"),
        ([str(toy.results), "-o", "diary"], "MB0818"),
    ):
        done = report(*arguments, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert code in done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "mine" / "index.html").read_text() == "mine"
    assert (tmp_path / "diary" / "history" / "1984.txt").read_text() == "mine"
    report(str(toy.results), cwd=tmp_path, path=only(tmp_path / "bin"))
    assert not (tmp_path / "allure-report").exists(), "no empty folder where no page can be made"


def test_a_user_without_a_home_is_told_what_to_set(toy: Toy, tmp_path: Path) -> None:
    """A container's user that is in no list of users."""
    path = only(tmp_path / "bin", node="echo v22.1.0")
    known = {name: value for name, value in os.environ.items() if name not in {"HOME", "XDG_CACHE_HOME"}}
    code = "import pwd; pwd.getpwuid = {}.__getitem__; from meshbdd.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", str(toy.results)],
        capture_output=True, text=True, cwd=tmp_path, env={**known, "PATH": str(path)}, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert "MB0811" in done.stderr
    assert "set XDG_CACHE_HOME" in done.stderr
    assert "Traceback" not in done.stderr


def _damage(toy: Toy, folder: Path) -> Path:
    """Results of which one file is cut off, and one is no object."""
    results = Path(shutil.copytree(toy.results, folder))
    file = next(file for file in sorted(results.glob("*-result.json")) if "same name" in file.read_text())
    file.write_text(file.read_text()[:100])
    (results / "0-globals.json").write_text("[]")
    return file


@pytest.mark.parametrize(
    "programs",
    [pytest.param({}, marks=node, id="node"), pytest.param({"java": ""}, marks=java, id="java")],
)
@pytest.mark.timeout(240)
def test_results_that_are_cut_off_are_named(toy: Toy, tmp_path: Path, programs: dict[str, str]) -> None:
    cut = _damage(toy, tmp_path / "results")
    before = {file.name: file.read_bytes() for file in (tmp_path / "results").glob("*.json")}
    done = report("results", cwd=tmp_path, path=only(tmp_path / "bin", **programs) if programs else None)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    told = f"2 files of the results are cut off or damaged: {cut.name}, 0-globals.json; so the page lacks what stood in them."
    assert f"MB0820 error: {told}" in done.stderr
    assert (tmp_path / "allure-report" / "index.html").exists(), "the others are shown"
    assert {file.name: file.read_bytes() for file in (tmp_path / "results").glob("*.json")} == before
