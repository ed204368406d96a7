from __future__ import annotations

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, ServiceRef
from meshbdd.units import Duration, Percent, Rate, counted
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


@pytest.mark.parametrize(("share", "would_be"), [(0.00001, "none"), (0.00009, "none"), (99.99995, "all")])
def test_no_fault_has_a_share_that_would_be_rounded_away(share: float, would_be: str) -> None:
    with pytest.raises(BadInput, match=f"draw from a million, so it would be {would_be} of them"):
        Fault(ServiceRef("payment-service", "shop"), Percent(share))


@pytest.mark.parametrize("share", [0.0001, 99.9999, 100])
def test_a_fault_has_any_share_that_a_proxy_can_draw(share: float) -> None:
    assert Fault(ServiceRef("payment-service", "shop"), Percent(share)).share == Percent(share)


def test_one_thing_is_no_plural() -> None:
    assert [counted(number, "call") for number in (0, 1, 2)] == ["0 calls", "1 call", "2 calls"]
    assert counted(1, "more call", "bears", "bear") == "1 more call bears"
    assert counted(2, "more call", "bears", "bear") == "2 more calls bear"
