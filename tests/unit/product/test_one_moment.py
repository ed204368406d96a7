"""What is asked twice in one moment is asked once, and never what is waited for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from meshbdd.cluster import Cluster
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually, one_moment


class _Counted(Cluster):
    """A cluster that tells what it was asked, and whose objects have a number that grows with each question."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._not_served: set[str] = set()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        seconds: float = 0.0,
    ) -> bytes:
        del body, seconds
        self.asked.append(f"{method} {path} {query}")
        return json.dumps({"items": [], "metadata": {"number": len(self.asked)}}).encode()

    def number(self) -> int:
        return int(self.get("Service", "shop", "a")["metadata"]["number"])


def test_a_question_is_asked_once_in_a_moment() -> None:
    cluster = _Counted()
    with one_moment():
        assert [cluster.number(), cluster.number()] == [1, 1]
        cluster.list("Pod", "a"), cluster.list("Pod", "a", "app=x"), cluster.list("Pod", "a")
    assert len(cluster.asked) == 3
    assert cluster.number() == 4


def test_a_moment_within_a_moment_is_the_same() -> None:
    cluster = _Counted()
    with one_moment():
        cluster.number()
        with one_moment():
            assert cluster.number() == 1
        assert cluster.number() == 1


def test_nobody_changes_what_others_read() -> None:
    cluster = _Counted()
    with one_moment():
        cluster.get("Service", "shop", "a")["metadata"]["number"] = 77
        assert cluster.number() == 1


def test_two_clusters_are_two() -> None:
    first, second = _Counted(), _Counted()
    second.asked.append("before")
    with one_moment():
        assert [first.number(), second.number()] == [1, 2]


def test_what_is_waited_for_is_looked_at_anew() -> None:
    cluster = _Counted()

    def probe() -> int:
        if (number := cluster.number()) < 4:
            raise NotYet(str(number))
        return number

    with one_moment():
        assert cluster.number() == 1
        assert eventually(probe, what="it", within=Duration(5)) == 4
        assert cluster.number() == 1


def test_a_failure_is_no_answer() -> None:
    class Failing(_Counted):
        def request(self, *args: Any, **options: Any) -> bytes:
            if not self.asked:
                self.asked.append("failed")
                raise ConnectionError
            return super().request(*args, **options)

    cluster = Failing()
    with one_moment():
        with pytest.raises(ConnectionError):
            cluster.number()
        assert cluster.number() == 2
