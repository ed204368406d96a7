"""`meshbdd steps`: the vocabulary, and what each mesh can do, for people and for programs."""

from __future__ import annotations

import json
import os
import pty
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from meshbdd.cli.steps import steps
from tests.cli.test_commands import meshbdd

MIRROR = "traffic to {service} is mirrored to {subset}"


def _printed(*arguments: str) -> str:
    ran = CliRunner().invoke(steps, arguments)
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_programs_get_every_phrase_with_what_each_mesh_says() -> None:
    told = {step["phrase"]: step for step in json.loads(_printed("--json"))["steps"]}
    assert len(told) > 60
    assert told[MIRROR]["meshes"]["istio"]["lab"] == {"possible": True, "told": "", "answer": "yes"}
    linkerd = told[MIRROR]["meshes"]["linkerd"]["cluster"]
    assert not linkerd["possible"]
    assert linkerd["answer"] == f"no: because {linkerd['told']}"
    assert told[MIRROR]["example"] == "Given traffic to order-service is mirrored to canary"
    only = json.loads(_printed("--json", "--mesh", "linkerd"))["steps"]
    assert {mesh for step in only for mesh in step["meshes"]} == {"linkerd"}


def test_a_pipe_gets_lines_and_words_get_all_that_is_said() -> None:
    listed = _printed()
    assert f"{MIRROR}\n    A copy of every request goes to a subset as well; nobody sees its answer.\n" in listed
    assert "Evidence:" not in listed
    asked = _printed("traffic", "mirrored", "--mesh", "linkerd").splitlines()
    assert asked[0] == MIRROR
    assert "    Evidence: the route and the proxies that hold it." in asked
    assert any(line.startswith("    Linkerd: no: because ") for line in asked)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("moon",), "No phrase has the words «moon»"),
        (("--mesh", "consul"), "'consul' is not one of 'istio', 'linkerd'"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ran = meshbdd("steps", *arguments, cwd=tmp_path)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_terminal_gets_a_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "meshbdd", "steps", "--mesh", "istio"]
    code, shown = _on_a_terminal(command, {**os.environ, "COLUMNS": "130", "TERM": "xterm"}, tmp_path)
    assert code == 0
    assert "Istio, cluster" in shown
    assert "│ {service} is down" in shown


def _on_a_terminal(command: list[str], environment: dict[str, str], folder: Path) -> tuple[int, str]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, environment)
    text = b""
    try:
        while part := os.read(terminal, 65536):
            text += part
    except OSError:
        pass  # the other side has closed it
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode()
