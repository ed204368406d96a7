"""The same on Linkerd, where half of the callers have no proxy: what is decided at the server is decided for them as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshbdd.intents import Access, Fault, MutualTls, Retry, Scope, Timeout, TlsMode
from meshbdd.mesh import Gate, Linkerd
from meshbdd.scenario import Environment
from meshbdd.settings import Settings
from meshbdd.units import Duration
from tests.mesh.conftest import Scenario
from tests.mesh.keep_alive import EAST, HOME, TARGET, Callers
from tests.mesh.kinds import Kind, for_east, status
from tests.mesh.switching import SECONDS, stale_answers
from tests.tools import LabUnderTest

pytestmark = pytest.mark.timeout(SECONDS)

DEMANDED = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: own, namespace: south}
spec: {podSelector: {matchLabels: {app: target, version: stable}}, port: 8080, accessPolicy: all-authenticated}
"""
CLOSED = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: own, namespace: south}
spec: {podSelector: {matchLabels: {app: target}}, port: 8080, accessPolicy: deny}
"""
LET_IN = f"""{CLOSED}---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: other, namespace: south}}
spec: {{podSelector: {{matchLabels: {{app: target}}}}, port: 9999, accessPolicy: deny}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {{name: asked, namespace: south}}
spec: {{identities: ["*"]}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {{name: nobody, namespace: south}}
spec: {{identities: [nobody.south.serviceaccount.identity.linkerd.cluster.local]}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: own, namespace: south}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: own}}
  requiredAuthenticationRefs: [{{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: asked}}]
"""
"""Whoever is in the mesh may call."""
NARROWED = """
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: asked, namespace: south}
spec: {identities: [nobody.south.serviceaccount.identity.linkerd.cluster.local]}
"""
ASKING = """
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: own, namespace: south}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: {server}}}
  requiredAuthenticationRefs: [{{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: {asked}}}]
"""
MOVED = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: own, namespace: south}
spec: {podSelector: {matchLabels: {app: target}}, port: 9998, accessPolicy: deny}
"""

KINDS = (
    Kind("a fault", Fault(TARGET, status=555), for_east(555, 200), status(200)),
    Kind("a fault for a caller", Fault(TARGET, status=555, scope=Scope(EAST)), for_east(555, 200), status(200)),
    Kind("a timeout", Timeout(TARGET, Duration(0.1)), for_east(504, 200, "200@400ms"), status(200, does="200@400ms")),
    Kind("retries", Retry(TARGET, 2), for_east(200, 500, "500,500,200"), status(500, does="500,500,200")),
    Kind("who may call", Access(EAST, TARGET), for_east(200, 403), status(200)),
    Kind("strict", MutualTls(TlsMode.STRICT, HOME, TARGET), for_east(200, 403), status(200)),
    Kind("strict everywhere", MutualTls(TlsMode.STRICT, HOME), for_east(200, 403), status(200)),
    Kind("permissive", MutualTls(TlsMode.PERMISSIVE, HOME, TARGET), status(200), for_east(200, 403), DEMANDED),
    Kind("a Server of the tester's", CLOSED, status(403), status(200)),
    Kind("a changed authentication", NARROWED, status(403), for_east(200, 403), LET_IN),
    Kind("a changed policy", ASKING.format(server="own", asked="nobody"), status(403), for_east(200, 403), LET_IN),
    Kind(
        "a policy for another Server",
        ASKING.format(server="other", asked="asked"),
        status(403),
        for_east(200, 403),
        LET_IN,
    ),
    Kind("a Server for another port", MOVED, status(200), for_east(200, 403), LET_IN),
)


@pytest.fixture(scope="module")
def callers(_own_state: None) -> Iterator[Callers]:
    lab = LabUnderTest.up("keepalivelinkerd", mesh="linkerd", shop=False, clients=False)
    yield Callers.up(lab, "linkerd", plain="west")
    lab.down()


@pytest.fixture
def lab(callers: Callers) -> Iterator[LabUnderTest]:
    yield callers.lab
    callers.lab.clean()


@pytest.fixture
def environment(lab: LabUnderTest, tmp_path: Path) -> Iterator[Environment]:
    settings = Settings(project=tmp_path, mesh="linkerd", undo_budget=Duration(20), gate_timeout=Duration(20))
    run = "r" + tmp_path.name.replace("_", "")[-20:].lower()
    mesh = Linkerd(lab.cluster, run)
    gate = Gate(lab.cluster, settings.gate_timeout, mesh.sidecars)
    environment = Environment(settings, lab.cluster, mesh, gate, run, "lab", lambda _: None)
    yield environment
    environment.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_answer_is_stale_on_linkerd(
    kind: Kind, scenario: Scenario, environment: Environment, callers: Callers, tmp_path: Path
) -> None:
    assert stale_answers(kind, scenario, environment.gate, callers, tmp_path) == (0, 0)
