"""What the policies become for Envoy: every recorded case is a configuration of Envoy's form."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshbdd.lab.linkerd.envoy.pod import Compiler
from meshbdd.lab.linkerd.installed import settings_of
from meshbdd.lab.linkerd.kind import LINKERD
from meshbdd.lab.linkerd.policies import Policies
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.xds.resources import Packer
from tests.golden.linkerd import cases, installed, resources, with_world

_IDENTITY = SidecarIdentity(
    "order-stable-1", "shop", "10.0.0.1", "order-service", "order-service", "order-service", "stable"
)


@pytest.mark.parametrize("case", cases())
def test_every_case_is_a_configuration_of_envoys_form(case: str) -> None:
    policies = Policies(with_world(resources(case)), settings_of(installed(case)))
    for namespace, name in [("shop", "order-stable-1"), ("other", "client-1")]:
        compiled = Compiler(policies).compile(name, namespace)
        Packer().snapshot(LINKERD.deliver(_IDENTITY, Path("/dev/null"), compiled))
