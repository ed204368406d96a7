"""A page takes the place of the one before with its history, or not at all."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshbdd.errors import BadInput
from meshbdd.report.page.publish import publish


def _write(folder: Path, text: str) -> Path:
    (folder / "history").mkdir(parents=True)
    (folder / "history" / "history.jsonl").write_text(f"history of {text}")
    (folder / "index.html").write_text(text)
    return folder


def _content(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """A limit on the size of files fails like a full disk does: in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_page_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    output = _write(tmp_path / "output", "old")
    (output / "mine.txt").write_text("mine")
    publish(_write(tmp_path / "new", "new"), output)
    assert _content(output) == {
        "index.html": "new", "history/history.jsonl": "history of new", "mine.txt": "mine",
    }  # fmt: skip
    assert {entry.name for entry in output.iterdir()} == {"index.html", "history", "mine.txt"}


def test_without_room_everything_stays_as_it_was(tmp_path: Path) -> None:
    output, new = _write(tmp_path / "output", "old"), _write(tmp_path / "new", "x" * 5000)
    before = _content(output)
    with _largest_file(1000), pytest.raises(BadInput, match=r"MB0819 .*cannot be written to .*: File too large"):
        publish(new, output)
    assert _content(output) == before
    with _largest_file(1000), pytest.raises(BadInput):
        publish(new, tmp_path / "nowhere yet")
    assert not (tmp_path / "nowhere yet").exists()


@pytest.mark.parametrize("good", range(4))
def test_a_failure_in_the_middle_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: int) -> None:
    output, new = _write(tmp_path / "output", "old"), _write(tmp_path / "new", "new")
    before, rename, calls = _content(output), Path.rename, []

    def renamed(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == good + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises(BadInput, match="No space left on device"):
        publish(new, output)
    assert _content(output) == before
