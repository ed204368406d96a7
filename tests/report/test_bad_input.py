"""What is wrong around a run is one sentence, and nothing of its results is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.toy import Toy, by_name, read, statuses

ONE = {"a.feature": "Feature: A\n  Scenario: one\n    Given it passes\n"}


def _one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, done.stdout + done.stderr


def test_results_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    toy.results.mkdir()
    (toy.results / "0-result.json").write_text("{}")
    done = toy.run()
    assert done.returncode == 2
    _one_sentence(done, "MB0803", "holds files that meshbdd did not write, 0-result.json", "help:")
    assert (toy.results / "0-result.json").read_text() == "{}"


def test_old_results_of_ours_are_replaced(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    for _ in range(2):
        assert toy.run().returncode == 0
    assert statuses(toy.results)["passed"] == 1


def test_only_what_a_run_of_ours_wrote_is_removed(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    (toy.results / "history").mkdir(parents=True)
    (toy.results / "history" / "history.json").write_text("{}")
    (toy.results / "executor.json").write_text('{"name": "Jenkins"}')
    for _ in range(2):
        assert toy.run(CI="true").returncode == 0, "what CI systems lay there stays"
    assert (toy.results / "history" / "history.json").exists()
    assert (toy.results / "executor.json").read_text() == '{"name": "Jenkins"}'
    foreign = toy.results / "6f1b3a52-4f8e-4d4e-8a59-0c7f1d1f7d11-result.json"
    foreign.write_text('{"name": "pytest wrote it"}')
    ours = {file.name for file in toy.results.iterdir()}
    done = toy.run()
    assert done.returncode == 2
    _one_sentence(done, "MB0803", f"holds files that meshbdd did not write, {foreign.name}")
    assert {file.name for file in toy.results.iterdir()} == ours, "nothing is lost"


def test_a_refused_folder_is_not_made(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    (toy.results / "meshbdd").mkdir(parents=True)
    (toy.results / "meshbdd" / "mine").touch()
    assert toy.run().returncode == 2
    assert [file.name for file in toy.results.rglob("*")] == ["meshbdd", "mine"]


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    (tmp_path / "file").write_text("mine")
    done = toy.run("--results", str(tmp_path / "file"))
    assert done.returncode == 2
    _one_sentence(done, "MB0801")
    done = toy.run("--results", str(tmp_path / "file" / "below"))
    assert done.returncode == 2
    _one_sentence(done, "MB0802", "cannot be written")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_costs_the_report_and_no_verdict(tmp_path: Path) -> None:
    """A limit on the size of files fails like a full disk does: in the middle of a write."""
    big = '    Given it passes\n      """\n' + f"      {'x' * 100}\n" * 3000 + '      """\n'
    toy = Toy(
        tmp_path / "toy", {"a.feature": f"Feature: A\n  Scenario: one\n{big}  Scenario: two\n    Then it asserts\n"}
    )
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from meshbdd.cli import main; sys.argv = ['meshbdd', 'run', '-f', 'plain']; main()"
    )
    done = toy.execute(["-c", code], {})
    assert done.returncode == 1, "the failed claim, not the report, decides"
    _one_sentence(done, "MB0804", "1 files of the results could not be written")
    assert {name: result["status"] for name, result in by_name(toy.results).items()} == {
        "one": "passed",
        "two": "failed",
    }


def test_a_feature_that_does_not_parse(tmp_path: Path) -> None:
    toy = Toy(
        tmp_path / "toy", {**ONE, "bad.feature": "Feature: B\n  Scenario: x\n    Given it passes\n    Thn it asserts\n"}
    )
    done = toy.run()
    assert done.returncode == 2
    _one_sentence(done, "MB0225", "bad.feature", ":4")
    assert not read(toy.results)
    assert "bad.feature" in read(toy.results, "globals")[0]["errors"][0]["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tags=@a and"], "MB0224"),
        (["nowhere.feature"], "MB0244 error: There is no file nowhere.feature."),
        (["nowhere.feature:3"], "MB0244 error: There is no file nowhere.feature."),
        (["-f", "nonsense"], "nonsense"),
        (["--tags=@nothing"], "MB0221"),
    ],
)
def test_arguments_that_behave_does_not_understand(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = Toy(tmp_path / "toy", ONE).run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    _one_sentence(done, words)


def test_step_files_that_cannot_be_loaded(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    (toy.folder / "steps" / "bad_steps.py").write_text("import nothing_of_this_name\n")
    done = toy.run()
    assert done.returncode == 2
    _one_sentence(done, "MB0226", "nothing_of_this_name", "bad_steps.py")


def test_a_folder_that_is_no_project_yet(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    shutil.rmtree(toy.folder / "steps", ignore_errors=True)
    (toy.folder / "environment.py").unlink(missing_ok=True)
    done = toy.run()
    assert done.returncode == 2
    _one_sentence(done, "MB0228", "environment.py", "import meshbdd.steps")


def test_plain_behave_gets_a_sentence_too(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    toy.results.mkdir()
    (toy.results / "mine.txt").write_text("mine")
    done = toy.behave()
    assert done.returncode == 1
    assert "MB0803" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_short_name_and_its_folder(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    assert toy.run("-f", "meshbdd", "-o", "mine").returncode == 0
    assert len(read(toy.folder / "mine")) == 1
    assert not toy.results.exists(), "named once, written once"


def test_the_short_name_without_a_folder_writes_where_it_is_told(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    done = toy.run("--results", "there", "-f", "plain", "-o", "plain.txt", "-f", "meshbdd")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Allure results: {toy.folder / 'there'}" in done.stdout
    assert len(read(toy.folder / "there")) == 1
    assert not toy.results.exists()


def test_a_dry_run_writes_no_results(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", ONE)
    assert toy.run("--dry-run").returncode == 0
    assert not toy.results.exists()


def test_two_shards_share_a_folder(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", {f"{n}.feature": f"Feature: {n}\n  Scenario: {n}\n    Given it waits\n" for n in "ab"})
    (toy.folder / "steps" / "wait_steps.py").write_text(
        "import time\nfrom pathlib import Path\nfrom behave import step\n"
        "@step('it waits')\ndef _(c):\n"
        "    Path(c.feature.name).touch()\n"
        "    until = time.monotonic() + 20\n"
        "    while not (Path('a').exists() and Path('b').exists()) and time.monotonic() < until: time.sleep(0.01)\n"
    )
    command = [sys.executable, "-m", "meshbdd", "run", "-f", "plain"]
    shards = [
        subprocess.Popen([*command, f"features/{n}.feature"], cwd=toy.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for n in "ab"
    ]  # fmt: skip
    said = [shard.communicate(timeout=60)[1] for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0]
    assert set(by_name(toy.results)) == {"a", "b"}
    told = "meshbdd: another run, which has not ended, writes its results to"
    assert sum(told in text for text in said) == 1, "the later one says so: results never mix silently"
