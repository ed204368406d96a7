"""There are no fixed sleeps: everything waits for a condition, with a deadline. What does sleep is named, with the reason."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

BETWEEN_LOOKS = "between two looks at a condition, with a deadline or the end of a process"
AS_WRITTEN = "as long as the Pod's own specification says: a probe's period, a restart's back-off"
SLEEPS = {
    "waiting.py:eventually": BETWEEN_LOOKS,
    "waiting.py:eventually_async": BETWEEN_LOOKS,
    "cluster/undo.py:undo_object": BETWEEN_LOOKS,
    "cluster/change.py:_write": BETWEEN_LOOKS,
    "lab/api/server.py:start": BETWEEN_LOOKS,
    "lab/daemon.py:_wait_ready": BETWEEN_LOOKS,
    "lab/lifecycle.py:_end": BETWEEN_LOOKS,
    "lab/backend.py:logs": "a log that is followed: between two looks for more, until the reader leaves",
    "lab/controllers/container.py:run": AS_WRITTEN,
    "lab/controllers/container.py:_watch_ready": AS_WRITTEN,
    "lab/controllers/container.py:_watch_alive": AS_WRITTEN,
    "lab/controllers/container.py:_first_success": "between two looks at a readiness probe, as long as the container runs",
    "lab/controllers/pod.py:_live": "between two looks for a ConfigMap or Secret that the pod needs, as long as the pod is there",
    "lab/controllers/mesh.py:_push_while_wanted": "gathers changes that come at once into one push",
    "lab/controllers/mesh.py:_push": "lets other tasks have their turn: zero seconds",
    "lab/shop/services.py:_charge": "the shop's own pause between two tries of a payment: its behaviour, not a wait of ours",
}
"""File and function of each call of ``sleep`` → why it may."""


TWICE = {f"lab/controllers/container.py:{name}": 2 for name in ("run", "_watch_ready", "_watch_alive")}
"""Where it stands more than once."""


def _is_sleep(call: ast.Call) -> bool:
    """Whether a call sleeps, by name or by waiting for what nobody ever sets: an event that was just made."""
    name = ast.unparse(call.func)
    return name.rpartition(".")[2] == "sleep" or name.endswith("Event().wait")


def _sleeps(file: Path, name: str) -> Counter[str]:
    """The functions of a file that call ``sleep``; a call in a nested function counts for the innermost."""
    found: Counter[str] = Counter()

    def visit(node: ast.AST, owner: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            owner = node.name
        if isinstance(node, ast.Call) and _is_sleep(node):
            found[f"{name}:{owner}"] += 1
        for child in ast.iter_child_nodes(node):
            visit(child, owner)

    visit(ast.parse(file.read_text("utf-8")), "")
    return found


def test_nothing_sleeps_but_for_a_reason(project: Path) -> None:
    root = project / "meshbdd"
    files = {file: str(file.relative_to(root)) for file in root.rglob("*.py")}
    files |= {file: f"steps/{file.name}" for file in (project / "steps").glob("*.py")}
    sleeping: Counter[str] = Counter()
    for file, name in files.items():
        sleeping += _sleeps(file, name)
    assert sleeping == Counter({where: TWICE.get(where, 1) for where in SLEEPS})


def test_a_sleep_is_seen(tmp_path: Path) -> None:
    (file := tmp_path / "a.py").write_text(
        "import time\ndef wait():\n    time.sleep(5)\n    time.sleep(5)\nasync def other():\n    await sleep(1)\n"
        "def third():\n    threading.Event().wait(5)\n"
    )
    assert _sleeps(file, "a.py") == {"a.py:wait": 2, "a.py:other": 1, "a.py:third": 1}
