"""What injection says of a pod's metrics."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.controllers.injection import inject


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
