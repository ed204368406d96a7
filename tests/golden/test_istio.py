"""The lab's compiler against Istio's own control plane, case by case and sidecar by sidecar."""

from __future__ import annotations

import functools

import pytest

from tests.golden.meaning import PODS, cases, compiled, differences, golden, meaning

DIFFERS: dict[tuple[str, str], str] = {}
"""Case and sidecar → why the lab differs from Istio there, and what that means for a client.

An entry that agrees has to go: the table is what the lab is known to be wrong in, nothing else.
"""

PAIRS = [(case, pod) for case in cases() for pod in PODS]


@functools.cache
def found(case: str, pod: str) -> tuple[str, ...]:
    """Where the lab and Istio differ."""
    return tuple(differences(meaning(compiled(case, pod).to_json()), meaning(golden(case, pod))))


@pytest.mark.parametrize(("case", "pod"), PAIRS, ids=[f"{case}-{pod}" for case, pod in PAIRS])
def test_the_lab_compiles_as_istio_does(case: str, pod: str) -> None:
    if (case, pod) in DIFFERS:
        assert found(case, pod), f"{case} agrees for {pod}: take it out of DIFFERS ({DIFFERS[case, pod]})"
    else:
        assert not found(case, pod), "\n".join(found(case, pod)[:20])


def test_how_many_agree(capsys: pytest.CaptureFixture[str]) -> None:
    agree = [pair for pair in PAIRS if not found(*pair)]
    with capsys.disabled():
        print(f"\n{len(agree)} of {len(PAIRS)} agree (golden case × sidecar)")
        for pair, reason in DIFFERS.items():
            print(f"  differs: {' '.join(pair)}: {reason}")
    assert len(PAIRS) == 120
    assert len(agree) >= 0.99 * len(PAIRS)
    assert set(DIFFERS) <= set(PAIRS)


def test_the_comparison_sees_a_wrong_number() -> None:
    """The comparison itself can fail: one changed timeout is found, with its place."""
    mine = meaning(compiled("20-vs-timeout", PODS[0]).to_json())
    host = mine["virtual_hosts"]["80 / inventory-service.shop.svc.cluster.local:80"]
    host["routes"][0]["route"]["timeout"] = "1.501s"
    seen = differences(mine, meaning(golden("20-vs-timeout", PODS[0])))
    assert len(seen) == 1
    assert "timeout" in seen[0]


@pytest.mark.parametrize(
    ("section", "case"),
    [
        ("virtual_hosts", "02-vs-abort-500-all"),
        ("clusters", "37-dr-connection-pool"),
        ("endpoints", "39-dr-tls-disable"),
        ("filter_chains", "49-authz-allow-principal"),
        ("filter_chains", "54-ef-inbound-fault-merge"),
        ("extensions", "59-ef-armed-fault-on"),
        ("clusters", "60-ef-cluster-epoch"),
    ],
)
def test_the_comparison_tells_a_case_from_no_configuration(section: str, case: str) -> None:
    """What a case is about is not lost on the way to the comparison."""
    with_case = meaning(golden(case, PODS[0]))
    without = meaning(golden("01-no-config", PODS[0]))
    assert any(line.startswith(f".{section}") for line in differences(with_case, without))
