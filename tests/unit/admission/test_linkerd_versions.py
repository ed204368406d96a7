"""Versions of Linkerd's kinds that lack fields of later ones."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.cli.admission import see_fields
from meshbdd.cluster.kinds import as_written
from meshbdd.cluster.refusals import RefusedObject
from meshbdd.lab.linkerd.admission.definitions import crds
from meshbdd.lab.linkerd.admission.webhook import decide


def _server(version: str, **more: Any) -> dict[str, Any]:
    spec = {"podSelector": {}, "port": "http", **more}
    meta = {"name": "pay", "namespace": "shop"}
    return {"apiVersion": f"policy.linkerd.io/{version}", "kind": "Server", "metadata": meta, "spec": spec}


@pytest.mark.parametrize(("version", "known"), [("v1beta3", True), ("v1beta2", False), ("v1beta1", False)])
def test_only_the_latest_version_of_a_server_has_an_access_policy(version: str, *, known: bool) -> None:
    server = _server(version, accessPolicy="all-unauthenticated")
    assert (decide(server).schema == ()) is known
    assert decide(_server(version)).schema == ()
    if known:
        see_fields(server, "linkerd")
        return
    with pytest.raises(RefusedObject, match=r"a field that nobody knows: spec\.accessPolicy") as refused:
        see_fields(server, "linkerd")
    assert refused.value.code == "MB0320"
    assert refused.value.help == "write apiVersion: policy.linkerd.io/v1beta3 if it has the field, or take it out"


def test_each_version_is_installed_with_its_own_fields() -> None:
    [servers] = [crd for crd in crds() if crd["metadata"]["name"] == "servers.policy.linkerd.io"]
    fields = {
        version["name"]: set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
        for version in servers["spec"]["versions"]
    }
    assert fields["v1beta3"] - fields["v1beta2"] == {"accessPolicy"}
    assert fields["v1beta2"] - fields["v1beta1"] == {"externalWorkloadSelector"}


def test_an_object_is_admitted_in_the_version_in_which_it_is_written() -> None:
    assert as_written(_server("v1beta1")).path("shop") == "/apis/policy.linkerd.io/v1beta1/namespaces/shop/servers"
    route = {**_server("v1beta1"), "kind": "HTTPRoute"}
    assert as_written(route).group_version == "policy.linkerd.io/v1beta3", "its versions have the same fields"
