"""Which zero of a counter is fair: that no call has ended so, and not that the selector means nothing."""

from __future__ import annotations

import pytest

from meshbdd.telemetry.outcomes import apart_from_outcomes

CALLS = "istio_requests_total"


@pytest.mark.parametrize(
    ("source", "rest"),
    [
        (f'{CALLS}{{response_code="503",a="b"}}', f'{CALLS}{{a="b",response_code!~"unknown|"}}'),
        (f"{CALLS}{{response_code=~'5..'}}", f'{CALLS}{{response_code!~"unknown|"}}'),
        (f'{CALLS}{{response_code!="200",a=`b`}}', f'{CALLS}{{a="b",response_code!~"unknown|"}}'),
        (
            f'{CALLS}{{response_flags="URX,UF",response_code!~"2..",response_code!="404"}}',
            f'{CALLS}{{response_code!~"unknown|",response_flags!~"unknown|"}}',
        ),
        (f'{CALLS}{{response_code="0"}}', f'{CALLS}{{response_code!~"unknown|"}}'),
        (f'{CALLS}{{connection_security_policy="none"}}', f'{CALLS}{{connection_security_policy!~"unknown|"}}'),
        ('response_total{classification="failure"}', 'response_total{classification!~"unknown|"}'),
        ('response_total{grpc_status="UNAVAILABLE"}', 'response_total{grpc_status!~"unknown|"}'),
        ('response_total{a="b",error=~".+"}', 'response_total{a="b"}'),
        (
            'outbound_http_route_backend_response_statuses_total{http_status="504"}',
            'outbound_http_route_backend_response_statuses_total{http_status!~"unknown|"}',
        ),
    ],
)
def test_what_is_left_of_a_selector_without_its_outcomes(source: str, rest: str) -> None:
    assert apart_from_outcomes(source) == rest


@pytest.mark.parametrize(
    "source",
    [
        CALLS,
        f'{CALLS}{{destination_service="payment-service"}}',
        f'{CALLS}{{response_code="5O3"}}',
        f'{CALLS}{{response_code=~"6.."}}',
        f'{CALLS}{{response_code="50"}}',
        f'{CALLS}{{response_code=~"5."}}',
        'response_total{status_code="5"}',
        f'{CALLS}{{response_code=~"5{{2}}"}}',
        f'{CALLS}{{response_code=~"(?P"}}',
        f'{CALLS}{{response_code="503","quoted"="b"}}',
        f'{CALLS}{{response_flags="UXX"}}',
        f'{CALLS}{{connection_security_policy="unknown"}}',
        f'{CALLS}{{status_code="503"}}',
        'response_total{response_code="503"}',
        'response_total{classification="failed"}',
        'response_total{grpc_status="14"}',
        'up{response_code="503"}',
        '{__name__="istio_requests_total",response_code="503"}',
    ],
)
def test_a_selector_that_means_nothing_is_no_fair_zero(source: str) -> None:
    assert apart_from_outcomes(source) is None
