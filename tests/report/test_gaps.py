"""What a folder of results lacks of its run is named: the page would be too green without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from meshbdd.report.page.gaps import Gaps, find, without
from tests.report.toy import Toy, read

FIVE = "Feature: A\n" + "".join(f"  Scenario: s{n}\n    Given it passes\n" for n in range(4)) + (
    "  @skipme\n  Scenario: skipped\n    Given it passes\n"
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    toy = Toy(tmp_path_factory.mktemp("toy"), {"a.feature": FIVE})
    assert toy.run("-f", "plain").returncode == 0
    return toy.results


@pytest.fixture
def results(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "results"))


@pytest.mark.parametrize("arguments", [[], ["--no-skipped"], ["-n", "s1"], ["-n", "s1", "--no-skipped"]])
def test_a_whole_run_lacks_nothing(tmp_path: Path, arguments: list[str]) -> None:
    toy = Toy(tmp_path / "toy", {"a.feature": FIVE})
    for _ in range(2):
        assert toy.run("-f", "plain", *arguments).returncode == 0
        assert not find(toy.results), find(toy.results).sentence


def test_a_result_that_is_gone_is_named(results: Path) -> None:
    gone = sorted(results.glob("*-result.json"))[:2]
    for file in gone:
        file.unlink()
    found = find(results)
    assert found.missing == tuple(file.name for file in gone)
    assert found.sentence == (
        f"2 files of the results are not there, though the run wrote or was about to write them: {gone[0].name},"
        f" {gone[1].name}; so the page lacks what stood in them."
    )
    (told,) = read(without(found, results, results.with_name("copy")), "globals")
    assert told["errors"][0]["message"] == f"environment: {found.sentence}"


def test_results_of_which_not_even_the_name_was_written_are_counted(results: Path) -> None:
    """The list is on the same disk that was full."""
    gone = min(results.glob("*-result.json"))
    gone.unlink()
    marker = results / ".meshbdd-results"
    marker.write_text("".join(line for line in marker.read_text().splitlines(keepends=True) if gone.name not in line))
    found = find(results)
    assert found == Gaps(unwritten=1)
    assert found.sentence == "A scenario of the run left no result; so the page lacks what stood in it."
    (results / "unended-globals.json").write_text("{}")
    assert not find(results), "a run that was killed says itself how many it left out"


def test_what_is_lost_for_want_of_room_is_named(tmp_path: Path) -> None:
    """A limit on the size of files fails like a full disk does; here every result is lost, and the attachment of one."""
    big = "\n".join(["      x" + "y" * 400] * 30)
    text = f'Feature: A\n  Scenario: one\n    Given the request\n      """\n{big}\n      """\n  Scenario: two\n    Given it passes\n'
    toy = Toy(tmp_path / "toy", {"a.feature": text})
    for limit, kind, least in ((10_000, "attachment", 1), (400, "result", 2)):
        code = (
            f"import resource, sys; from meshbdd.cli import main; import meshbdd.report.runner;"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
            "sys.argv = ['meshbdd', 'run', '-f', 'null']; main()"
        )
        done = toy.execute(["-B", "-c", code], {})
        assert "MB0804" in done.stderr, done.stdout + done.stderr
        found = find(toy.results)
        assert sum(f"-{kind}." in name for name in found.missing) + found.unwritten >= least, (found, done.stderr)


def test_other_results_have_no_gaps(tmp_path: Path) -> None:
    """Of another tool, or copied from several machines without what each run kept."""
    (tmp_path / "0-result.json").write_text("{}")
    assert not find(tmp_path)
    (tmp_path / "meshbdd").mkdir()
    (tmp_path / "meshbdd" / "run.json").write_text("[1]")
    (tmp_path / "meshbdd" / "run-1.json").write_text(json.dumps({"planned": None}))
    assert not find(tmp_path)
