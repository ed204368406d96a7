"""What the sequential test takes for granted: a mesh draws for each request on its own, whatever came before."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from meshbdd.load import Entry, Load, Message, Plan, Vantage
from tests.tools import LabUnderTest

REQUESTS, USERS = 2000, 5
FAR = 5.0
"""Standard deviations that chance exceeds once in 1.7 million times."""


def share_score(hits: list[bool], share: float) -> float:
    """By how many standard deviations the number of hits is off."""
    return (sum(hits) - len(hits) * share) / math.sqrt(len(hits) * share * (1 - share))


def runs_score(hits: list[bool]) -> float:
    """By how many standard deviations the number of runs is off (A. Wald and J. Wolfowitz, 1940)."""
    n, k = len(hits), sum(hits)
    expected = 2 * k * (n - k) / n + 1
    variance = (expected - 1) * (expected - 2) / (n - 1)
    runs = 1 + sum(one != other for one, other in itertools.pairwise(hits))
    return (runs - expected) / math.sqrt(variance)


def lagged_score(hits: list[bool], lag: int) -> float:
    """By how many standard deviations requests ``lag`` apart agree more than chance lets them."""
    share = sum(hits) / len(hits)
    pairs = [(one - share) * (other - share) for one, other in zip(hits, hits[lag:], strict=False)]
    return sum(pairs) / (math.sqrt(len(pairs)) * share * (1 - share))


@pytest.mark.parametrize(
    ("manifest", "url", "share"),
    [
        ("canary-90-10.yaml", "GET http://order-service/version", 0.1),
        ("payment-fails-30-percent.yaml", "POST http://payment-service/charge", 0.3),
    ],
    ids=["split", "fault"],
)
def test_each_request_is_drawn_on_its_own(
    lab: LabUnderTest, project: Path, manifest: str, url: str, share: float
) -> None:
    lab.apply((project / "manifests" / "examples" / manifest).read_text().replace("v1alpha3", "v1"))
    service = url.split("/")[2]
    lab.in_effect(
        "client", '"weighted_clusters"' if share == 0.1 else '"abort"', "/config_dump?resource=dynamic_route_configs"
    )
    method, address = url.split()
    body = None if method == "GET" else '{"sku": "A1", "quantity": 1}'
    message = Message(service, method, address, {"content-type": "application/json"}, body)
    plan = Plan(
        message,
        Vantage("client", lab.outbound("client"), Entry.SIDECAR),
        users=USERS,
        count=REQUESTS,
        fields=("version",),
    )
    with Load.start(plan) as load:
        samples = list(load.wait().samples())
    hits = [s.field("version") == "canary" if share == 0.1 else s.status == 503 for s in samples]
    scores = {
        "share": share_score(hits, share),
        "runs": runs_score(hits),
        **{f"lag {lag}": lagged_score(hits, lag) for lag in (1, 2, USERS, 10)},
    }
    print(
        f"\n{manifest}: {sum(hits)} of {len(hits)}; "
        + ", ".join(f"{name} {score:+.2f}" for name, score in scores.items())
    )
    assert all(abs(score) < FAR for score in scores.values()), scores


def test_a_draw_that_remembers_is_noticed() -> None:
    every_tenth = [n % 10 == 0 for n in range(REQUESTS)]
    assert abs(share_score(every_tenth, 0.1)) < 1, "the share is right"
    assert abs(lagged_score(every_tenth, 10)) > FAR
    sticky = [n // 50 % 10 == 0 for n in range(REQUESTS)]
    assert abs(runs_score(sticky)) > FAR
