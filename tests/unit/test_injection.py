"""Which pods are injected, and what injection makes of them."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.controllers.injection import inject, wants_sidecar
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


YES, NO = {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}
REVISION = {"istio.io/rev": "default"}
ENABLED, DISABLED = {"istio-injection": "enabled"}, {"istio-injection": "disabled"}


@pytest.mark.parametrize(
    ("namespace", "labels", "annotations", "wanted"),
    [
        ({}, {}, {}, False),
        ({}, YES, {}, True),
        ({}, {"sidecar.istio.io/inject": "yes"}, {}, False),  # no webhook is asked of a pod that says anything but true
        ({}, {}, YES, False),  # nor by an annotation
        ({}, REVISION, {}, True),
        ({}, {**REVISION, **NO}, {}, False),
        (REVISION, {}, {}, True),
        (REVISION, NO, {}, False),
        (ENABLED, {}, {}, True),
        (ENABLED, {"sidecar.istio.io/inject": "yes"}, {}, True),
        (ENABLED, {"sidecar.istio.io/inject": "maybe"}, {}, False),
        (ENABLED, {}, NO, False),
        (ENABLED, YES, NO, True),  # the label beats the annotation
        (ENABLED, NO, YES, False),
        (DISABLED, YES, {}, False),
        (DISABLED, REVISION, {}, False),
        ({**DISABLED, **REVISION}, {}, {}, False),
    ],
)
def test_who_is_injected(
    namespace: dict[str, str], labels: dict[str, str], annotations: dict[str, str], wanted: bool
) -> None:
    pod = {"metadata": {"namespace": "a", "labels": labels, "annotations": annotations}, "spec": {}}
    assert wants_sidecar(pod, {"metadata": {"labels": namespace}}) is wanted


def test_what_a_pod_says_of_its_sidecar_is_laid_over_the_template() -> None:
    own = {"name": "istio-proxy", "image": "auto", "resources": {"limits": {"cpu": "1"}}}
    pod: dict[str, Any] = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app"}, own]}}
    inject(pod)
    app, sidecar = pod["spec"]["containers"]
    assert app == {"name": "app"}
    assert sidecar["image"] == "envoyproxy/envoy:lab"
    assert sidecar["resources"] == {"limits": {"cpu": "1"}}
    assert "readinessProbe" in sidecar


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
