from __future__ import annotations

import pytest

from meshbdd.errors import BadInput
from meshbdd.units import Duration, Percent, Rate
from meshbdd.waiting import NotYet, eventually


@pytest.mark.parametrize(("text", "value"), [("100%", 100), ("2.5%", 2.5), ("0%", 0)])
def test_percentages(text: str, value: float) -> None:
    assert Percent.parse(text).value == value
    assert str(Percent.parse(text)) == text


@pytest.mark.parametrize("text", ["50", "101%", "-1%", "%", "ten%", "1e2%", " 5%"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(BadInput):
        Percent.parse(text)


@pytest.mark.parametrize(("text", "seconds"), [("250ms", 0.25), ("5s", 5), ("1m30s", 90), ("1.5s", 1.5), ("1h", 3600)])
def test_durations(text: str, seconds: float) -> None:
    assert Duration.parse(text).seconds == pytest.approx(seconds)
    assert Duration.parse(str(Duration.parse(text))) == Duration.parse(text)


@pytest.mark.parametrize("text", ["2", "2 s", "s", "2sekunden", "", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Duration.parse(text)
    assert caught.value.help


def test_rates() -> None:
    assert Rate.parse("200/s").per_second == 200
    with pytest.raises(BadInput):
        Rate.parse("0/s")


def test_waiting_tells_the_last_thing_seen() -> None:
    seen = iter(range(1000))

    def probe() -> None:
        raise NotYet(f"look {next(seen)}")

    with pytest.raises(Exception, match=r"the moon did not happen within 20ms; last seen: look [1-9]"):
        eventually(probe, what="the moon", within=Duration(0.02))
