"""A folder of results that several runs write at one time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.report.results import ResultsFolder


def _in_between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen while a lock for one, given up already, is not a lock for many yet."""
    real = fcntl.flock

    def flock(file: Any, how: int) -> None:
        if how == fcntl.LOCK_SH:
            real(file, fcntl.LOCK_UN)
            monkeypatch.setattr(fcntl, "flock", real)
            happens()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)


def test_one_of_two_runs_that_begin_at_once_is_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ResultsFolder(tmp_path / "there"), ResultsFolder(tmp_path / "there")
    _in_between(monkeypatch, second.take)
    first.take()
    assert (bool(first.shard), bool(second.shard)) == (True, False)
    third = ResultsFolder(tmp_path / "there")
    third.take()
    assert third.shard


def test_shards_write_a_file_of_one_name_at_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ResultsFolder(tmp_path), ResultsFolder(tmp_path)
    first.take()
    second.take()
    real = Path.replace

    def replace(half: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", real)
        second.write("categories.json", "second")
        return real(half, target)

    monkeypatch.setattr(Path, "replace", replace)
    first.write("categories.json", "first")
    assert (first.problem, second.problem) == (None, None)
    assert (tmp_path / "categories.json").read_text() == "first", "the later one stands"


def test_what_a_killed_shard_was_writing_goes_with_the_next_run(tmp_path: Path) -> None:
    first, second = ResultsFolder(tmp_path), ResultsFolder(tmp_path)
    first.take()
    second.take()
    second.write("categories.json", "{}")
    half = tmp_path / f"categories.json{second.shard}.tmp"
    half.touch()
    first.release()
    second.release()
    ResultsFolder(tmp_path).take()
    assert [entry.name for entry in tmp_path.iterdir()] == [".meshbdd-results"]


def test_a_folder_that_is_refused_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadInput, match=r"notes\.txt"):
        ResultsFolder(tmp_path).take()
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_strange_file_beside_listed_ones_is_refused_in_a_shard_too(tmp_path: Path) -> None:
    first = ResultsFolder(tmp_path)
    first.take()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadInput, match=r"notes\.txt"):
        ResultsFolder(tmp_path).take()
    first.release()
    with pytest.raises(BadInput, match=r"notes\.txt"):
        ResultsFolder(tmp_path).take()
