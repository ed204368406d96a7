"""A tester's own manifests: in force for the very next request, and gone for the one after their removal."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import Fault, ServiceRef
from meshbdd.scenario import Environment
from meshbdd.units import Duration
from tests.mesh.conftest import Scenario
from tests.mesh.kinds import INSERTED
from tests.tools import LabUnderTest

KINDS = {
    "PeerAuthentication": """
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {name: payment}
        spec:
          selector: {matchLabels: {app: payment-service}}
          mtls: {mode: STRICT}
        """,
    "AuthorizationPolicy": """
        apiVersion: security.istio.io/v1
        kind: AuthorizationPolicy
        metadata: {name: payment}
        spec:
          selector: {matchLabels: {app: payment-service}}
          action: DENY
          rules: [{to: [{operation: {methods: [POST]}}]}]
        """,
    "HTTPRoute": """
        apiVersion: gateway.networking.k8s.io/v1
        kind: HTTPRoute
        metadata: {name: payment}
        spec:
          parentRefs: [{group: "", kind: Service, name: payment-service, port: 80}]
          rules: [{backendRefs: [{name: notification-service, port: 80}]}]
        """,
    "Sidecar": """
        apiVersion: networking.istio.io/v1
        kind: Sidecar
        metadata: {name: client}
        spec:
          workloadSelector: {labels: {app: client}}
          outboundTrafficPolicy: {mode: REGISTRY_ONLY}
          egress: [{hosts: ["./order-service.shop.svc.cluster.local"]}]
        """,
    "DestinationRule": """
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: payment}
        spec:
          host: payment-service
          trafficPolicy: {tls: {mode: DISABLE}}
        ---
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {name: payment}
        spec:
          selector: {matchLabels: {app: payment-service}}
          mtls: {mode: PERMISSIVE}
        """,
}
"""What each does to `POST payment-service/charge` is below."""

FROM_OUTSIDE, CHANGED = {"PeerAuthentication"}, {"AuthorizationPolicy": 403, "HTTPRoute": 404, "Sidecar": 502}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_manifest_of_each_kind(lab: LabUnderTest, scenario: Scenario, tmp_path: Path, kind: str) -> None:
    (tmp_path / "own.yaml").write_text(KINDS[kind].replace("\n        ", "\n"))

    def status() -> int | None:
        world.traffic.send("charge", outside=kind in FROM_OUTSIDE)
        [sample] = world.samples
        if kind == "DestinationRule" and sample.status == 200:
            name = lab.last_logged("payment-service", sample.request_id)["requested_server_name"]
            return 200 if name else 299  # without TLS
        return sample.status

    with scenario() as world:
        assert status() == 200
        world.changes.apply_manifest("own.yaml")
        wanted = {**dict.fromkeys(FROM_OUTSIDE), "DestinationRule": 299, **CHANGED}
        assert status() == wanted[kind]
        world.changes.remove_manifest("own.yaml")
        assert status() == 200


def test_a_sidecar_is_seen_to_arrive_where_it_changes_nothing(
    lab: LabUnderTest, scenario: Scenario, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.gate, "_timeout", Duration(2))
    text = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: NAME}\nspec:\n  egress: [{hosts: [HOSTS]}]\n"
    one = "  workloadSelector: {labels: {app: client}}\n"
    for name, hosts, more in (
        ("all", "'*/*'", ""),
        ("client", "./order-service.shop.svc.cluster.local", one),
        ("others", "./payment-service.shop.svc.cluster.local, ./inventory-service.shop.svc.cluster.local", ""),
    ):
        (tmp_path / f"{name}.yaml").write_text(text.replace("NAME", name).replace("HOSTS", hosts) + more)
    with scenario() as world:
        for name, known in (("all", True), ("client", False)):
            world.changes.apply_manifest(f"{name}.yaml")
            assert ("outbound|80||payment-service" in lab.admin("client", "/clusters")) == known
        world.changes.remove_manifest("all.yaml")
        world.changes.apply_manifest("others.yaml")  # the client keeps its own
        world.changes.remove_manifest("client.yaml")
        world.traffic.send("charge")
        assert world.samples[0].status == 200


def test_a_filter_that_changes_nothing_is_inconclusive(
    scenario: Scenario, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Istio says nothing of a patch that matches nothing; no proxy ever shows it."""
    monkeypatch.setattr(environment.gate, "_timeout", Duration(2))
    text = """
        apiVersion: networking.istio.io/v1alpha3
        kind: EnvoyFilter
        metadata: {name: nothing}
        spec:
          workloadSelector: {labels: {app: payment-service}}
          configPatches:
          - applyTo: CLUSTER
            match: {context: SIDECAR_OUTBOUND, cluster: {service: nobody.shop.svc.cluster.local}}
            patch: {operation: MERGE, value: {metadata: {filter_metadata: {mine: {a: b}}}}}
        """
    (tmp_path / "own.yaml").write_text(text.replace("\n        ", "\n"))
    with scenario() as world, pytest.raises(Inconclusive, match="no effect of EnvoyFilter nothing"):
        world.changes.apply_manifest("own.yaml")


def test_of_two_filters_the_first_may_go_first(scenario: Scenario, tmp_path: Path) -> None:
    for number, status in enumerate((418, 409)):  # Istio goes by their age, and of one second by their names
        own = (
            INSERTED.replace("556", str(status))
            .replace("own-fault", f"own-{number}")
            .replace("target", "payment-service")
        )
        (tmp_path / f"{status}.yaml").write_text(own.replace("own.fault", f"own.{status}").replace("south", "shop"))
    with scenario() as world:
        for change, name, wanted in (
            (world.changes.apply_manifest, "418.yaml", 418),
            (world.changes.apply_manifest, "409.yaml", 418),
            (world.changes.remove_manifest, "418.yaml", 409),
            (world.changes.remove_manifest, "409.yaml", 200),
        ):
            change(name)
            world.traffic.send("charge")
            assert world.samples[0].status == wanted


def test_a_manifest_that_cannot_be_removed_yet_is_removed_in_the_end(
    lab: LabUnderTest, scenario: Scenario, tmp_path: Path
) -> None:
    text = """
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: own}
        spec:
          hosts: [payment-service]
          http: [{route: [{destination: {host: payment-service}}]}]
        """
    (tmp_path / "own.yaml").write_text(text.replace("\n        ", "\n"))
    with scenario() as world:
        world.changes.apply_manifest("own.yaml")
        world.changes.make(Fault(ServiceRef("payment-service", "shop"), status=503))
        with pytest.raises(BadInput, match="another change of this scenario stands on it"):
            world.changes.remove_manifest("own.yaml")
    assert lab.cluster.list("VirtualService") == []
