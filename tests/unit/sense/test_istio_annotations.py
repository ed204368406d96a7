"""What helps against an annotation of Istio's that does nothing."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd import sense


def _found(kind: str, annotation: str, template: str | None = None) -> list[sense.Finding]:
    obj: dict[str, Any] = {
        "kind": kind,
        "metadata": {"name": "a", "namespace": "shop", "annotations": {annotation: "x"}},
        "spec": {"template": {"metadata": {"annotations": {template: "x"} if template else {}}}},
    }
    return [f for f in sense.check([obj]) if f.code in {"MB0986", "MB0987"}]


@pytest.mark.parametrize(
    ("annotation", "help_"),
    [
        ("sidecar.istio.io/proxycpu", 'did you mean "sidecar.istio.io/proxyCPU"?'),
        ("sidecar.istio.io/excludeOutboundPorts", 'did you mean "traffic.sidecar.istio.io/excludeOutboundPorts"?'),
        ("istio.io/inject", 'did you mean "sidecar.istio.io/inject"?'),
        ("istio.io/config", 'did you mean "proxy.istio.io/config"?'),
        (
            "traffic.sidecar.istio.io/excludeOutboundPort",
            'did you mean "traffic.sidecar.istio.io/excludeOutboundPorts"?',
        ),
        ("service.istio.io/canonical-name", "it is a label: write it below metadata.labels"),
        ("policy.istio.io/check", "correct its name, or leave it out"),
    ],
)
def test_an_unknown_one_may_be_a_slip(annotation: str, help_: str) -> None:
    (finding,) = _found("Pod", annotation)
    assert (finding.code, finding.help) == ("MB0987", help_)
    assert f'"{annotation}"' in finding.sentence


@pytest.mark.parametrize(
    ("kind", "annotation", "help_"),
    [
        ("Deployment", "proxy.istio.io/config", "move it to spec.template.metadata.annotations"),
        ("CronJob", "proxy.istio.io/config", None),
        ("Service", "proxy.istio.io/config", "move it to the pods, that is to spec.template.metadata.annotations"),
        ("Pod", "networking.istio.io/exportTo", "move it to where it counts"),
        ("RequestAuthentication", "istio.io/dry-run", "move it to where it counts"),
        ("AuthorizationPolicy", "istio.io/dry-run", None),
    ],
)
def test_a_misplaced_one_is_sent_where_it_counts(kind: str, annotation: str, help_: str | None) -> None:
    assert [(f.code, f.help) for f in _found(kind, annotation)] == ([("MB0986", help_)] if help_ else [])


@pytest.mark.parametrize(
    "annotation",
    [
        "istio.io",
        "istio.io.example.com/a",
        "notistio.io/a",
        "linkerd.io/inject",
        "internal.istio.io/parents",
        "",
        3,
        None,
    ],
)
def test_what_is_not_istios_is_none_of_its_business(annotation: Any) -> None:
    assert _found("Pod", annotation) == []


def test_one_that_is_in_the_template_too_is_left_there() -> None:
    assert _found("Deployment", "proxy.istio.io/config", "proxy.istio.io/config") == []
    assert len(_found("Deployment", "proxy.istio.io/config", "sidecar.istio.io/logLevel")) == 1
    assert len(_found("Deployment", "proxy.istio.io/confg", "proxy.istio.io/confg")) == 2
