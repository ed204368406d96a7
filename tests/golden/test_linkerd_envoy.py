"""What the policies become for Envoy, case by case: its routes lead to the backends of the policies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from meshbdd.lab.compile import Compiled
from meshbdd.lab.linkerd.envoy.outbound import PASSTHROUGH
from meshbdd.lab.linkerd.envoy.pod import OUTBOUND
from meshbdd.lab.linkerd.kind import LINKERD
from meshbdd.lab.linkerd.model import Backend, Balancer, Forbidden, OutboundPolicy, Redirection, Rule
from meshbdd.lab.linkerd.read.destinations import NoProfile
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.xds.resources import Packer
from tests.golden.linkerd import PODS, cases, compiled_for, policies_of

Json = dict[str, Any]

_IDENTITY = SidecarIdentity(
    "order-stable-1", "shop", "10.0.0.1", "order-service", "order-service", "order-service", "stable"
)


@pytest.mark.parametrize("case", cases())
def test_every_case_is_a_configuration_of_envoys_form(case: str) -> None:
    for namespace, name in PODS:
        Packer().snapshot(LINKERD.deliver(_IDENTITY, Path("/dev/null"), compiled_for(case, namespace, name)))


def _governed(case: str, client: str) -> dict[str, OutboundPolicy]:
    """The policies of a world's Services for a client's namespace, by their names; those under a ServiceProfile are not."""
    policies, found = policies_of(case), {}
    for (namespace, name), service in policies.objects.services.items():
        for port in service["spec"].get("ports") or []:
            try:
                profile = policies.destinations.profile(name, namespace, port["port"], client)
            except NoProfile:
                profile = None
            if profile is None or not profile.governs:
                policy = policies.outbound.of_service(name, namespace, port["port"], client)
                found[str(policy.meta)] = policy
    return found


def _wanted(policy: OutboundPolicy) -> dict[str, set[str]]:
    """By the name of a route: the backends that its rules lead to with some weight, and that have an answer of their own."""
    made: dict[str, set[str]] = {}
    for route in policy.opaque if policy.protocol in {"opaque", "tls"} else policy.http:
        for rule in route.rules:
            leads = made.setdefault(str(route.meta), set())
            if not any(isinstance(f, Forbidden | Redirection) for f in rule.filters) and not _cut_at_once(rule):
                leads |= {str(b.meta) for b in rule.backends if _usable(b, split=rule.split)}
    return made


def _cut_at_once(rule: Rule) -> bool:
    return rule.timeouts is not None and rule.timeouts.request == 0


def _usable(backend: Backend, *, split: bool) -> bool:
    return isinstance(backend.target, Balancer) and backend.failure is None and (backend.weight > 0 or not split)


def _found(compiled: Compiled, host: Json) -> dict[str, set[str]]:
    """The same of Envoy's routes: each cluster is there, and the localities of its endpoints name their backends."""
    made: dict[str, set[str]] = {}
    for route in host["routes"]:
        if route["name"] == "no-route":
            continue
        leads = made.setdefault(route["name"], set())
        cluster = route.get("route", {}).get("cluster")
        if cluster is None or cluster == PASSTHROUGH:
            continue
        assert cluster in compiled.clusters
        endpoints = compiled.endpoints[cluster].get("endpoints", [])
        # A backend without endpoints has a cluster of its own, which is named after it.
        own = re.sub("/grpc-retries$", "", cluster).partition("/")[2]
        leads |= {entry["locality"]["sub_zone"] for entry in endpoints} or {own}
    return made


@pytest.mark.parametrize("case", cases())
def test_the_routes_of_a_policy_lead_to_its_backends(case: str) -> None:
    for namespace, name in PODS:
        compiled = compiled_for(case, namespace, name)
        hosts = {host["name"]: host for host in compiled.routes[OUTBOUND]["virtual_hosts"]}
        for service, policy in _governed(case, namespace).items():
            assert _found(compiled, hosts[service]) == _wanted(policy), service


def test_the_comparison_sees_a_backend_that_is_not_there() -> None:
    compiled = compiled_for("002-httproute-weights-90-10", *PODS[0])
    (host,) = [h for h in compiled.routes[OUTBOUND]["virtual_hosts"] if h["name"] == "Service.shop.order-service:80"]
    cluster = host["routes"][0]["route"]["cluster"]
    compiled.endpoints[cluster]["endpoints"].pop()
    wanted = _wanted(_governed("002-httproute-weights-90-10", "shop")["Service.shop.order-service:80"])
    assert _found(compiled, host) != wanted
