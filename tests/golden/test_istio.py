"""The lab's compiler against Istio's own control plane, case by case and sidecar by sidecar."""

from __future__ import annotations

import pytest

from tests.golden.meaning import PODS, cases, compiled, differences, golden, meaning

# Kinds that the compiler does not take yet; the API refuses them with a sentence. A strict expected failure: the line
# has to go as soon as the case agrees.
_KINDS_TO_COME = {
    "55-httproute-weights": "HTTPRoute",
    "56-httproute-match-timeout": "HTTPRoute",
}
_EVERY_POD = {"55-httproute-weights", "56-httproute-match-timeout"}


def _parameters() -> list[object]:
    made = []
    for case in cases():
        for pod in PODS:
            marks = []
            if case in _KINDS_TO_COME and (pod == PODS[0] or case in _EVERY_POD):
                marks = [pytest.mark.xfail(strict=True, reason=f"{_KINDS_TO_COME[case]} is not compiled yet")]
            made.append(pytest.param(case, pod, marks=marks, id=f"{case}-{pod}"))
    return made


@pytest.mark.parametrize(("case", "pod"), _parameters())
def test_the_lab_compiles_as_istio_does(case: str, pod: str) -> None:
    found = differences(meaning(compiled(case, pod).to_json()), meaning(golden(case, pod)))
    assert not found, "\n".join(found[:20])


def test_the_comparison_sees_a_wrong_number() -> None:
    """The comparison itself can fail: one changed timeout is found, with its place."""
    mine = meaning(compiled("20-vs-timeout", PODS[0]).to_json())
    host = mine["virtual_hosts"]["80 / inventory-service.shop.svc.cluster.local:80"]
    host["routes"][0]["route"]["timeout"] = "1.501s"
    found = differences(mine, meaning(golden("20-vs-timeout", PODS[0])))
    assert len(found) == 1
    assert "timeout" in found[0]
