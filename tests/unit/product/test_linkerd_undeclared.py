"""At a port that no container declares a Server does not decide about the first connection, so a step keeps nobody out for certain."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from meshbdd.claims import Outcome
from meshbdd.errors import BadInput
from meshbdd.intents import Intent, MutualTls, ServiceRef, TlsMode
from meshbdd.load import Sample
from meshbdd.mesh.linkerd.servers import decides
from meshbdd.scenario.plaintext import ask_in_plaintext
from meshbdd.sidecars import LINKERD
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import MESHED, PAYMENT, _obj, _pod, _server
from tests.unit.product.test_linkerd_adding_up import (
    ANYWHERE,
    CALLERS,
    FROM_ANYWHERE,
    ONLY,
    PROBE,
    ROUTE,
    STRICT,
    STRICT_ALL,
    THEIRS,
    _callers,
    _matching,
    _older,
    _policy,
)
from tests.unit.product.test_linkerd_newcomers import DEFAULT, INJECTED, _admin, _deployment, _refused, _world

Object = dict[str, Any]
ALONE = MutualTls(TlsMode.STRICT, "shop", ServiceRef("statsd", "shop"))
IDLE = "config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout"
DECLARE = "declare port 8080 under `ports:` of the container"


def _silent(**annotations: str) -> Object:
    """A pod of payment-service that says nothing of the port to which its Service leads."""
    pod = _pod("payment-service")
    pod["spec"]["containers"][0]["ports"] = [{"name": "grpc", "containerPort": 9090}]
    pod["metadata"]["annotations"] = annotations
    return pod


def _by_number() -> Object:
    spec = {"selector": {"app": "payment-service"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return _obj("Service", "payment-service", spec)


def _there(pod: Object, *more: Object) -> Staged:
    return _world(pod, _by_number(), *more, **INJECTED)


@pytest.mark.parametrize("step", [STRICT_ALL, STRICT, ONLY])
def test_a_step_that_keeps_callers_out_is_refused_where_the_first_connection_passes(step: Intent) -> None:
    there = _there(_silent())
    before = there.cluster.objects
    told = (
        f"«{step}» would not hold at port 8080 of pod payment-service-stable: no container declares that port, so the proxy asks "
        "for its policy only when somebody connects, and judges that connection by the mesh's default."
    )
    with pytest.raises(BadInput, match=told) as caught:
        there(step)
    assert (caught.value.code, caught.value.help) == ("MB0483", DECLARE)
    assert there.cluster.objects == before


def _declared_beside(kind: str) -> Object:
    pod, port = _silent(), {"containerPort": 8080}
    beside = {"name": "beside", "ports": [port]}
    pod["spec"][kind] = [*(pod["spec"].get(kind) or []), beside]
    return pod


def _probed(**probe: Any) -> Object:
    """With an annotation of the pod among the probes, where there is one."""
    pod = _silent(**({IDLE: told} if (told := probe.pop(IDLE, None)) else {}))
    pod["spec"]["containers"][0] |= probe
    return pod


def _bare() -> Object:
    pod = _silent()
    del pod["metadata"]["labels"][MESHED]
    return pod


def _ended() -> Object:
    return {**_silent(), "status": {"phase": "Succeeded"}}


@pytest.mark.parametrize(
    ("pod", "refused"),
    [
        (_pod("payment-service"), False),
        (_declared_beside("containers"), False),
        (_declared_beside("initContainers"), False),
        (_probed(readinessProbe={"httpGet": {"port": 8080}}), False),
        (_probed(livenessProbe={"httpGet": {"port": 8080}}), False),
        (_probed(startupProbe={"httpGet": {"port": 8080}}), True),  # the injector does not look at it
        # through the proxy, before the pod is an endpoint and ever after
        (_probed(readinessProbe={"tcpSocket": {"port": 8080}}), False),
        (_probed(readinessProbe={"tcpSocket": {"port": "8080"}}), False),
        (_probed(readinessProbe={"grpc": {"port": 8080}, "periodSeconds": 89}), False),
        (_probed(readinessProbe={"grpc": {"port": 8080}, "periodSeconds": 90}), True),  # forgotten in between
        (_probed(readinessProbe={"tcpSocket": {"port": 8080}}, **{IDLE: "10s"}), True),
        (_probed(readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 120}, **{IDLE: "3m"}), False),
        (_probed(readinessProbe={"tcpSocket": {"port": 8080}}, **{IDLE: "soon"}), False),
        (_probed(readinessProbe={"tcpSocket": {"port": 8080, "host": "10.9.9.9"}}), True),
        (_probed(readinessProbe={"tcpSocket": {"port": 7000}}), True),
        (_probed(readinessProbe={"tcpSocket": {"port": "admin"}}), True),
        (_probed(readinessProbe={"exec": {"command": ["true"]}}), True),
        (_probed(livenessProbe={"tcpSocket": {"port": 8080}}), True),  # the pod may be an endpoint before it
        (_probed(startupProbe={"tcpSocket": {"port": 8080}}), True),  # not asked any more once it started
        (_bare(), False),
        (_ended(), False),
        (_silent(**{"config.linkerd.io/skip-inbound-ports": "8080"}), False),  # left alone of a namespace
    ],
)
def test_what_a_proxy_asks_for_as_it_starts_is_decided_from_the_first_connection_on(
    pod: Object, *, refused: bool
) -> None:
    there = _there(pod)
    if refused:
        with pytest.raises(BadInput, match="no container declares that port"):
            there(STRICT_ALL)
    else:
        there(STRICT_ALL)


@pytest.mark.parametrize(("told", "refused"), [("10s", True), ("1m", False)])
def test_what_a_proxy_was_injected_with_says_for_how_long_it_keeps_a_policy(told: str, *, refused: bool) -> None:
    pod = _probed(
        readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 30}, **{IDLE: "3m" if refused else "1s"}
    )
    env = [{"name": "LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "value": told}]
    pod["spec"]["initContainers"] = [{"name": "linkerd-proxy", "env": env}]
    with pytest.raises(BadInput, match="no container declares") if refused else contextlib.nullcontext():
        _there(pod)(STRICT_ALL)


@pytest.mark.parametrize(
    ("default", "keeps_out"),
    [("all-authenticated", True), ("cluster-authenticated", True), ("deny", True), ("all-unauthenticated", False)],
)
@pytest.mark.parametrize("told", ["by the pod", "to the proxy"])
def test_a_default_that_asks_for_an_identity_is_as_strict(default: str, told: str, *, keeps_out: bool) -> None:
    pod = _silent(**({DEFAULT: default} if told == "by the pod" else {}))
    if told == "to the proxy":
        env = [{"name": "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "value": default}]
        pod["spec"]["initContainers"] = [{"name": "linkerd-proxy", "env": env}]
    if keeps_out:
        _there(pod)(STRICT)
    else:
        with pytest.raises(BadInput, match=rf"by the pod's default \({default}\)"):
            _there(pod)(STRICT)
    with pytest.raises(BadInput, match=rf"by the pod's default \({default}\)"):
        _there(pod)(ONLY)


def test_what_keeps_nobody_out_is_taken() -> None:
    for intent in (MutualTls(TlsMode.PERMISSIVE, "shop"), MutualTls(TlsMode.PERMISSIVE, "shop", PAYMENT)):
        _there(_silent())(intent)


def _statsd(*ports: Object) -> Object:
    said = ports or ({"name": "udp", "port": 8125, "protocol": "UDP"},)
    return _obj("Service", "statsd", {"selector": {"app": "payment-service"}, "ports": list(said)}, "v1")


def test_what_comes_by_udp_meets_no_proxy() -> None:
    there = _world(_statsd(), **INJECTED)
    there(STRICT_ALL)
    made = {obj["spec"]["port"] for obj in there.cluster.objects if obj["kind"] == "Server"}
    assert made == {8080}
    later = _world(**INJECTED)
    later(STRICT_ALL)
    later([_statsd()])
    _world(_statsd({"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 8080}), **INJECTED)(ALONE)
    with pytest.raises(BadInput, match=r"would not hold at any port of Service statsd.shop \(8125/UDP\)") as caught:
        _world(_statsd(), **INJECTED)(ALONE)
    assert (caught.value.code, caught.value.help) == ("MB0488", "take the step out of the scenario")


def test_a_server_that_names_a_udp_port_decides_nowhere() -> None:
    pod = _pod("payment-service")
    dns = {"name": "dns", "containerPort": 53}
    pod["spec"]["containers"][0]["ports"].append(dns)
    assert decides(_server("deny", "dns"), pod, 53)
    dns["protocol"] = "UDP"
    assert not decides(_server("deny", "dns"), pod, 53)


def test_a_port_of_another_service_of_these_pods_is_not_meant() -> None:
    for step in (STRICT, ONLY):
        _world(_admin(7000), **INJECTED)(step)
    with pytest.raises(BadInput, match="at port 7000 of pod payment-service-"):
        _world(_admin(7000), **INJECTED)(STRICT_ALL)


@pytest.mark.parametrize("step", [STRICT_ALL, STRICT, ONLY])
def test_pods_that_come_later_declare_the_port(step: Intent) -> None:
    silent = _deployment("payment-service", 9090)
    told = rf"With the manifest «{step}» would not hold at port 8080 of pod of Deployment payment-service-next: no container"
    found = _refused(_there(_pod("payment-service")), step, [silent], told, "MB0483")
    assert found.help == DECLARE
    there = _there(_pod("payment-service"))
    there(step)
    there([_deployment("payment-service")])


def test_a_port_to_which_a_later_manifest_leads_is_declared() -> None:
    """Its Server, which the manifest brings along, would decide about all connections but the first."""
    own = _server("all-authenticated", 7000)
    _refused(
        _world(**INJECTED), STRICT_ALL, [own, _admin(7000)], "would not hold at port 7000 of pod payment-", "MB0483"
    )
    there = _world(**INJECTED)
    there(STRICT_ALL)
    there([_server("all-authenticated", 9090), _admin(9090)])


def _named(name: str, obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "name": name}}


OPENED = [_server("deny", 8080), ANYWHERE, _policy(THEIRS, FROM_ANYWHERE)]
ELSEWHERE = [{"cidr": "192.0.2.0/24"}]
FROM_ELSEWHERE = _obj("NetworkAuthentication", "anywhere", {"networks": ELSEWHERE}, "policy.linkerd.io/v1alpha1")
TO_OTHERS = [_server("deny", 8080), FROM_ELSEWHERE, _policy(THEIRS, FROM_ANYWHERE)]
TO_OTHERS_TOO = [_server("deny", 8080), _older(unauthenticated=True, networks=ELSEWHERE)]
AT_A_ROUTE = [_server("deny", 8080), ANYWHERE, _policy(ROUTE, FROM_ANYWHERE), _matching(PROBE)]
TO_THE_MESH = [_named("mesh", _policy(THEIRS, CALLERS)), _callers(identities=["*"])]


@pytest.mark.parametrize(
    ("pod", "more", "status", "outcome"),
    [
        (_silent(), [_server("deny", 8080)], 501, Outcome.INCONCLUSIVE),
        (_silent(), [_server("deny", 8080)], 403, Outcome.INCONCLUSIVE),
        (_silent(), [_server("all-authenticated", 8080)], 501, Outcome.INCONCLUSIVE),
        (_silent(), [_server("all-unauthenticated", 8080)], 501, Outcome.FAILED),
        (_silent(), OPENED, 501, Outcome.FAILED),
        (_silent(), [*OPENED, *TO_THE_MESH], 501, Outcome.FAILED),
        *(
            (_silent(), [*more, *TO_THE_MESH], status, Outcome.INCONCLUSIVE)
            for more in (TO_OTHERS, AT_A_ROUTE, TO_OTHERS_TOO, [_server("all-authenticated", 8080)])
            for status in (403, 501)
        ),
        (_silent(), [_server("all-unauthenticated", 8080)], 403, Outcome.INCONCLUSIVE),
        (_silent(**{DEFAULT: "deny"}), [*TO_OTHERS, *TO_THE_MESH], 403, Outcome.INCONCLUSIVE),
        (_silent(**{DEFAULT: "deny"}), [*TO_OTHERS, *TO_THE_MESH], 501, Outcome.FAILED),
        (_silent(), [], 501, Outcome.FAILED),
        (_silent(**{DEFAULT: "deny"}), [_server("all-authenticated", 8080)], 403, Outcome.PASSED),
        (_silent(**{DEFAULT: "deny"}), [_server("all-unauthenticated", 8080)], 403, Outcome.INCONCLUSIVE),
        (_silent(**{DEFAULT: "deny"}), [_server("all-unauthenticated", 8080)], 501, Outcome.FAILED),
        (_probed(readinessProbe={"grpc": {"port": 8080}}), [_server("all-authenticated", 8080)], 403, Outcome.PASSED),
        (_probed(readinessProbe={"grpc": {"port": 8080}}), [_server("all-authenticated", 8080)], 501, Outcome.FAILED),
        (_pod("payment-service"), [_server("all-authenticated", 8080)], 403, Outcome.PASSED),
        (_pod("payment-service"), [_server("all-authenticated", 8080)], 501, Outcome.FAILED),
    ],
)
def test_an_answer_that_the_next_client_need_not_get_tells_nothing(
    pod: Object, more: list[Object], status: int, outcome: Outcome
) -> None:
    there = _there(pod, *more).cluster
    place = {"ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": ["10.0.0.1"]}]}

    def listed(kind: str, *args: Any, **named: Any) -> Any:
        return [place] if kind == "EndpointSlice" else there.list(kind, *args, **named)

    def probe(*_args: Any, straight_to: str = "") -> Sample:
        headers = {"x-envoy-upstream-service-time": "1"}
        return Sample("r", 0.0, 0.1, status if straight_to else 404, None, headers)

    pods = [{**pod, "status": {"podIP": "10.0.0.1"}}]
    proxies = SimpleNamespace(pods=lambda _: pods, meshed=lambda _: pods, leading_to=lambda _: None, sidecars=LINKERD)
    cluster, traffic = SimpleNamespace(find=there.find, list=listed), SimpleNamespace(own=SimpleNamespace(probe=probe))
    verdict = ask_in_plaintext(PAYMENT, cluster, proxies, traffic, lambda _: True)  # type: ignore[arg-type]
    assert verdict.outcome is outcome, verdict.sentence
    if outcome is Outcome.INCONCLUSIVE:
        assert (
            "no container declares port 8080 of pod payment-service-stable, so the first connection" in verdict.sentence
        )
        assert verdict.help == DECLARE.replace("port 8080", "the port")
