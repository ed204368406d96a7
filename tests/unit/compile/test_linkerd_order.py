"""Which of a Service's routes takes a request: the precedence of the Gateway API, as an order that Envoy tries.

Expectations: gateway-api apis/v1 httproute_types.go HTTPRouteRule.Matches and grpcroute_types.go GRPCRouteRule.Matches. Each
pair differs in one criterion that decides, while every later criterion speaks for the other one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from meshbdd.lab.compile.ir import Match
from meshbdd.lab.linkerd.envoy.order import Entry, Found, ordered
from meshbdd.lab.linkerd.envoy.outbound import Outbound, OutboundWriter
from meshbdd.lab.linkerd.envoy.retries import action
from meshbdd.lab.linkerd.model import Retries, Rule, Timeouts
from meshbdd.lab.linkerd.model import RpcMatch as Rpc
from meshbdd.lab.linkerd.policies import Policies
from tests.unit.compile.linkerd_worlds import world

Json = dict[str, Any]
GET = {"exact": "GET"}
ONE, TWO = {"x-a": {"exact": "1"}}, {"x-a": {"exact": "1"}, "x-b": {"exact": "2"}}


def prefix(value: str, **more: Any) -> Match:
    return Match(uri={"path_prefix": value}, **more)


def exact(value: str, **more: Any) -> Match:
    return Match(uri={"exact": value}, **more)


def at(host: str | None, match: Found) -> tuple[str | None, Found]:
    return host, match


HTTP = {
    "a host before any host": (at("a.b", prefix("/")), at(None, exact("/pay", method=GET, headers=TWO))),
    "a whole host before a longer wildcard": (
        at("a.b", prefix("/")),
        at("*.very.long", exact("/pay", method=GET, headers=TWO)),
    ),
    "the longer wildcard": (at("*.a.b", prefix("/")), at("*.b", exact("/pay", method=GET, headers=TWO))),
    "an exact path before a prefix": (at(None, exact("/p")), at(None, prefix("/p/longer", method=GET, headers=TWO))),
    "a regular expression before a prefix": (
        at(None, Match(uri={"regex": "/p.*"})),
        at(None, prefix("/p/longer", method=GET, headers=TWO)),
    ),
    "the longer prefix before a method": (at(None, prefix("/pay")), at(None, prefix("/p", method=GET, headers=TWO))),
    "the longer prefix before headers": (at(None, prefix("/pay")), at(None, prefix("/", headers=TWO))),
    "any prefix before none": (at(None, prefix("/p")), at(None, Match(method=GET, headers=TWO, query=TWO))),
    "a method before headers": (at(None, prefix("/p", method=GET)), at(None, prefix("/p", headers=TWO))),
    "a method before queries": (at(None, prefix("/p", method=GET)), at(None, prefix("/p", query=TWO))),
    "more headers before queries": (
        at(None, prefix("/p", headers=TWO)),
        at(None, prefix("/p", headers=ONE, query=TWO)),
    ),
    "a header before none": (at(None, prefix("/p", headers=ONE)), at(None, prefix("/p", query=TWO))),
    "more queries": (at(None, prefix("/p", query=TWO)), at(None, prefix("/p", query=ONE))),
    "a query before none": (at(None, prefix("/p", query=ONE)), at(None, prefix("/p"))),
    "a method among exact paths": (at(None, exact("/p", method=GET)), at(None, exact("/p", headers=TWO))),
    "headers among exact paths": (at(None, exact("/p", headers=ONE)), at(None, exact("/p", query=TWO))),
    "queries among exact paths": (at(None, exact("/p", query=ONE)), at(None, exact("/p"))),
}
GRPC = {
    "a host before any host": (at("a.b", Rpc()), at(None, Rpc("pay.Pay", "Charge", TWO))),
    "the longer service": (at(None, Rpc("pay.Pay")), at(None, Rpc("pay", "Charge", TWO))),
    "a service before a method": (at(None, Rpc("pay.Pay")), at(None, Rpc(method="Charge", headers=TWO))),
    "the longer method": (at(None, Rpc("pay.Pay", "Charge")), at(None, Rpc("pay.Pay", "Do", TWO))),
    "a method before headers": (at(None, Rpc("pay.Pay", "Charge")), at(None, Rpc("pay.Pay", headers=TWO))),
    "more headers": (at(None, Rpc("pay.Pay", headers=TWO)), at(None, Rpc("pay.Pay", headers=ONE))),
    "a header before none": (at(None, Rpc(headers=ONE)), at(None, Rpc())),
}


@pytest.mark.parametrize("pair", [*HTTP.values(), *GRPC.values()], ids=[*HTTP, *(f"gRPC: {what}" for what in GRPC)])
@pytest.mark.parametrize("turned", [False, True], ids=["first", "last"])
def test_the_more_specific_match_stands_first_wherever_it_was_written(
    pair: tuple[tuple[str | None, Found], ...], turned: bool
) -> None:
    entries = [Entry(host, match, name) for (host, match), name in zip(pair, ("specific", "other"), strict=True)]
    made = ordered(reversed(entries) if turned else entries)
    assert list(dict.fromkeys(entry.target for entry in made if not entry.whole)) == ["specific", "other"]


@pytest.mark.parametrize("match", [prefix("/p", headers=ONE), exact("/p", query=ONE), Rpc("pay.Pay", "Charge")])
def test_of_equal_matches_the_one_that_was_given_first_stands_first(match: Found) -> None:
    """They come in the order of Linkerd's routes: the oldest route first, then a rule before those below it."""
    made = ordered(Entry("a.b", match, name) for name in ("older", "younger", "youngest"))
    assert [entry.target for entry in made if not entry.whole] == ["older", "younger", "youngest"]


def test_at_the_path_that_is_the_prefix_itself_a_prefix_is_as_long_as_an_exact_path() -> None:
    """linkerd2-proxy linkerd/http/route/src/http/match/path.rs: compared by how much of the path was matched."""
    made = ordered([Entry(None, exact("/p"), "exact"), Entry(None, prefix("/p", method=GET), "prefix")])
    assert [(entry.target, entry.whole) for entry in made] == [("prefix", True), ("exact", False), ("prefix", False)]


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, annotations: {timeout.linkerd.io/request: %s}}
spec:
  parentRefs: [{group: "", kind: Service, name: order, port: 80}]
  rules: [{backendRefs: [{name: order, port: 80}]}]
"""


def written(route: str) -> list[Json]:
    """Envoy's routes at port 80 of the Service ``order``."""
    policies, made = Policies(world(route)), Outbound()
    policy = policies.outbound.of_service("order", "shop", 80, "shop")
    OutboundWriter(policies.destinations, made).service(policy, "10.1.0.1:80", ["order"])
    (host,) = made.hosts
    return list(host["routes"])


def test_a_request_timeout_of_nothing_is_answered_at_once() -> None:
    """To Envoy a timeout of 0s is none at all; Linkerd's has passed before anything is sent."""
    first = written(ROUTE % "0s")[0]
    assert first["direct_response"]["status"] == 504
    assert "route" not in first


def test_any_other_request_timeout_is_envoys() -> None:
    assert written(ROUTE % "250ms")[0]["route"]["timeout"] == "0.250s"


@pytest.mark.parametrize(
    ("timeouts", "told"),
    [
        (None, "0s"),
        (Timeouts(), "0s"),
        (Timeouts(request=Decimal(2)), "2s"),
        (Timeouts(response=Decimal(1)), "1s"),
        (Timeouts(request=Decimal(2), response=Decimal(1)), "1s"),
        (Timeouts(request=Decimal(1), response=Decimal(2)), "1s"),
        (Timeouts(idle=Decimal(1)), "0s"),
    ],
)
@pytest.mark.parametrize("retries", [None, Retries(statuses=((500, 599),))])
def test_the_shorter_of_a_requests_and_an_answers_timeout_ends_a_call(
    timeouts: Timeouts | None, told: str, retries: Retries | None
) -> None:
    assert action(Rule((), (), timeouts=timeouts, retries=retries), "order")["timeout"] == told
