"""What injection says of a pod's metrics."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.controllers.injection import inject
from meshbdd.lab.linkerd import injection as linkerd


def _annotations(given: dict[str, str]) -> dict[str, str]:
    pod: dict[str, Any] = {
        "metadata": {"name": "a", "labels": {"app": "a"}, "annotations": given},
        "spec": {"containers": [{"name": "app"}]},
    }
    inject(pod)
    return dict(pod["metadata"]["annotations"])


@pytest.mark.parametrize("given", [{}, {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}])
def test_a_pod_is_scraped_at_the_agent(given: dict[str, str]) -> None:
    made = _annotations(given)
    told = [made[f"prometheus.io/{key}"] for key in ("scrape", "port", "path")]
    assert told == ["true", "15020", "/stats/prometheus"]


def test_a_pod_that_is_not_to_be_scraped_stays_so() -> None:
    made = _annotations({"prometheus.io/scrape": "false"})
    assert made["prometheus.io/scrape"] == "false"
    assert "prometheus.io/port" not in made


def _delay(annotations: dict[str, str]) -> int:
    pod: dict[str, Any] = {
        "metadata": {"name": "a", "annotations": annotations},
        "spec": {"containers": [{"name": "app"}]},
    }
    inject(pod)
    return int(pod["spec"]["containers"][-1]["readinessProbe"]["initialDelaySeconds"])


def test_when_a_sidecar_is_first_asked_whether_it_is_ready() -> None:
    name = "readiness.status.sidecar.istio.io/initialDelaySeconds"
    assert _delay({}) == 0
    assert _delay({name: "3"}) == 3
    for wrong in ("soon", "-1", "1.5", ""):
        with pytest.raises(ApiError, match="initialDelaySeconds"):
            _delay({name: wrong})


def _proxied(of_pod: str | None = None, of_namespace: str | None = None) -> dict[str, Any]:
    """A pod as Linkerd injects it, where pod and namespace add to the proxy's environment."""

    def meta(said: str | None) -> dict[str, Any]:
        return {
            "name": "a",
            "annotations": {"config.linkerd.io/proxy-additional-env": said} if said is not None else {},
        }

    pod: dict[str, Any] = {"metadata": meta(of_pod), "spec": {"containers": [{"name": "app"}]}}
    linkerd.inject(pod, {"metadata": meta(of_namespace)})
    return pod


def _refresh(bound: str, value: str) -> str:
    return json.dumps([{"name": f"LINKERD2_PROXY_IDENTITY_{bound}_REFRESH", "value": value}])


@pytest.mark.parametrize(
    ("of_pod", "of_namespace", "lifetime", "seconds"),
    [
        (None, None, 86400, 60480),
        (None, None, 7 * 86400, 86400),
        (None, None, 12, 10),
        (_refresh("MAX", "6s"), None, 86400, 6),
        (None, _refresh("MAX", "1m"), 86400, 60),
        (_refresh("MAX", "6s"), _refresh("MAX", "1m"), 86400, 6),
        (_refresh("MIN", "2s"), None, 10, 7),
        (_refresh("MIN", "2s"), _refresh("MAX", "5s"), 10, 5),
    ],
)
def test_linkerds_proxy_renews_at_seventy_per_cent_within_its_bounds(
    of_pod: str | None, of_namespace: str | None, lifetime: int, seconds: float
) -> None:
    after = linkerd.renewed_after(_proxied(of_pod, of_namespace), dt.timedelta(seconds=lifetime))
    assert after == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "said", ["{", "{}x", "[1]", '[{"value": "6s"}]', _refresh("MAX", "soon"), _refresh("MIN", "1.5s")]
)
def test_an_environment_that_linkerds_proxy_would_not_start_with_is_refused(said: str) -> None:
    with pytest.raises(ApiError, match=r"metadata.annotations\[config.linkerd.io/proxy-additional-env\]"):
        _proxied(said)
