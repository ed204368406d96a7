"""The API without a transport, as the lab's controllers call it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from meshbdd.lab.api.calls import Caller, DeleteOptions
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.api.store import Event, clone

Object = dict[str, Any]


def configmap(name: str, **metadata: Any) -> Object:
    return {"metadata": {"name": name, **metadata}, "data": {"a": "b"}}


def pod(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def owner(obj: Object, kind: str, **more: Any) -> list[Object]:
    metadata = obj["metadata"]
    return [{"apiVersion": "v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"], **more}]


def test_what_goes_in_is_copied_and_what_is_kept_never_changes() -> None:
    api = Api()
    mine = configmap("c")
    kept = api.create("configmaps", mine, "default")
    mine["data"]["a"] = "changed"
    assert api.get("configmaps", "c", "default")["data"] == {"a": "b"}
    api.patch("configmaps", "c", {"data": {"x": "y"}}, namespace="default")
    assert kept["data"] == {"a": "b"}
    assert api.get("configmaps", "c", "default")["data"] == {"a": "b", "x": "y"}


def test_an_update_that_changes_nothing_is_no_event() -> None:
    api = Api()
    kept = api.create("configmaps", configmap("c"), "default")
    events: list[Event] = []
    api.subscribe(events.append)
    assert (
        api.update("configmaps", kept, "default")["metadata"]["resourceVersion"] == kept["metadata"]["resourceVersion"]
    )
    api.patch("configmaps", "c", {"data": {"a": "b"}}, namespace="default")
    assert events == []


def test_dependents_go_with_their_owner() -> None:
    api = Api()
    top = api.create("configmaps", configmap("top"), "default")
    middle = api.create("configmaps", configmap("middle", ownerReferences=owner(top, "ConfigMap")), "default")
    api.create("configmaps", configmap("leaf", ownerReferences=owner(middle, "ConfigMap")), "default")
    api.create("configmaps", configmap("other"), "default")
    assert api.delete("configmaps", "top", "default").gone
    assert [c["metadata"]["name"] for c in api.list("configmaps", "default")] == ["other"]


def test_orphans_stay() -> None:
    api = Api()
    top = api.create("configmaps", configmap("top"), "default")
    api.create("configmaps", configmap("leaf", ownerReferences=owner(top, "ConfigMap")), "default")
    api.delete("configmaps", "top", "default", options=DeleteOptions(propagation="Orphan"))
    left = api.list("configmaps", "default")
    assert [c["metadata"]["name"] for c in left] == ["leaf"]
    assert "ownerReferences" not in left[0]["metadata"]


def test_foreground_waits_for_dependents() -> None:
    api = Api()
    top = api.create("configmaps", configmap("top"), "default")
    references = owner(top, "ConfigMap", blockOwnerDeletion=True)
    api.create("configmaps", configmap("leaf", ownerReferences=references, finalizers=["test/hold"]), "default")
    assert not api.delete("configmaps", "top", "default", options=DeleteOptions(propagation="Foreground")).gone
    assert api.get("configmaps", "top", "default")["metadata"]["finalizers"] == ["foregroundDeletion"]
    api.patch("configmaps", "leaf", {"metadata": {"finalizers": None}}, namespace="default")
    assert api.list("configmaps", "default") == []


def test_an_owner_that_is_not_there_is_gone() -> None:
    api = Api()
    nobody = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "n", "uid": "22222222-2222-2222-2222-222222222222"}]
    api.create("configmaps", configmap("left", ownerReferences=nobody), "default")
    assert api.find("configmaps", "left", "default") is None


def test_a_namespace_takes_its_content_along_and_waits_for_finalizers() -> None:
    api = Api()
    api.create("namespaces", {"metadata": {"name": "n"}})
    api.create("configmaps", configmap("plain"), "n")
    api.create("configmaps", configmap("held", finalizers=["test/hold"]), "n")
    api.delete("namespaces", "n")
    assert api.get("namespaces", "n")["status"]["phase"] == "Terminating"
    assert [c["metadata"]["name"] for c in api.list("configmaps", "n")] == ["held"]
    with pytest.raises(ApiError, match="because it is being terminated"):
        api.create("configmaps", configmap("late"), "n")
    api.patch("configmaps", "held", {"metadata": {"finalizers": None}}, namespace="n")
    assert api.find("namespaces", "n") is None


def test_a_pod_on_a_node_gets_its_grace_period() -> None:
    api = Api()
    api.create("pods", pod("placed", nodeName="lab", terminationGracePeriodSeconds=7), "default")
    api.create("pods", pod("waiting"), "default")
    assert api.delete("pods", "waiting", "default").gone
    assert not api.delete("pods", "placed", "default").gone
    going = api.get("pods", "placed", "default")
    assert going["metadata"]["deletionGracePeriodSeconds"] == 7
    assert api.delete("pods", "placed", "default", options=DeleteOptions(grace_seconds=0)).gone
    assert api.find("pods", "placed", "default") is None


def test_preconditions_of_a_deletion() -> None:
    api = Api()
    kept = api.create("configmaps", configmap("c"), "default")
    with pytest.raises(ApiError, match="the UID in the precondition") as refused:
        api.delete("configmaps", "c", "default", options=DeleteOptions(uid="other"))
    assert refused.value.code == 409
    api.patch("configmaps", "c", {"data": {"a": "c"}}, namespace="default")
    stale = DeleteOptions(uid=kept["metadata"]["uid"], resource_version=kept["metadata"]["resourceVersion"])
    with pytest.raises(ApiError, match="the ResourceVersion in the precondition"):
        api.delete("configmaps", "c", "default", options=stale)


def test_admission_sees_every_write_and_may_refuse_and_warn() -> None:
    asked: list[tuple[str, str]] = []

    def admission(operation: str, resource: str, new: Object | None, old: Object | None) -> list[str]:
        if resource != "configmaps":
            return []
        asked.append((operation, ((new or old) or {})["metadata"]["name"]))
        if new and new["data"].get("a") == "bad":
            raise ApiError(400, "BadRequest", "admission webhook denied the request: bad")
        return ["careful"]

    api = Api(admission=admission)
    by = Caller(manager="me")
    api.create("configmaps", configmap("c"), "default", by=by)
    assert by.warnings == ["careful"]
    with pytest.raises(ApiError, match="denied the request"):
        api.patch("configmaps", "c", {"data": {"a": "bad"}}, namespace="default")
    assert api.get("configmaps", "c", "default")["data"] == {"a": "b"}
    api.delete("configmaps", "c", "default")
    assert asked == [("CREATE", "c"), ("UPDATE", "c"), ("DELETE", "c")]


def test_a_subscriber_that_writes_does_not_reorder_what_others_see() -> None:
    api = Api()
    seen: list[tuple[str, str]] = []

    def controller(event: Event) -> None:
        if event.type == "ADDED":
            api.patch("configmaps", event.object["metadata"]["name"], {"data": {"x": "1"}}, namespace="default")

    api.subscribe(controller, ["configmaps"])
    api.subscribe(lambda event: seen.append((event.type, event.object["metadata"]["name"])), ["configmaps"])
    api.create("configmaps", configmap("c"), "default")
    assert seen == [("ADDED", "c"), ("MODIFIED", "c")]


def test_a_subscriber_that_fails_harms_nobody() -> None:
    api = Api()
    seen: list[str] = []

    def broken(_event: Event) -> None:
        raise RuntimeError("broken")

    api.subscribe(broken, ["configmaps"])
    api.subscribe(lambda event: seen.append(event.type), ["configmaps"])
    api.create("configmaps", configmap("c"), "default")
    assert seen == ["ADDED"]


def test_a_watch_tells_what_exists_and_then_what_happens() -> None:
    async def run() -> list[tuple[str, str, str]]:
        api = Api()
        api.create("configmaps", configmap("old"), "default")
        api.create("secrets", {"metadata": {"name": "s"}}, "default")
        watch = api.watch(["configmaps", "secrets"], "default")
        found: list[tuple[str, str, str]] = []

        async def follow() -> None:
            async for event in watch:
                told = (event.type, event.resource, event.object["metadata"]["name"])
                found.append(told)

        following = asyncio.create_task(follow())
        await asyncio.sleep(0)
        api.create("configmaps", configmap("new"), "default")
        api.delete("secrets", "s", "default")
        watch.close()
        await asyncio.wait_for(following, 5)
        api.create("configmaps", configmap("after"), "default")
        return found

    assert asyncio.run(run()) == [
        ("ADDED", "configmaps", "old"),
        ("ADDED", "secrets", "s"),
        ("ADDED", "configmaps", "new"),
        ("DELETED", "secrets", "s"),
    ]


def test_history_is_bounded_and_compaction_expires_it() -> None:
    api = Api(history=3)
    api.create("configmaps", configmap("c"), "default")
    start = api.store.version
    for number in range(5):
        api.patch("configmaps", "c", {"data": {"n": str(number)}}, namespace="default")
    with pytest.raises(ApiError, match="too old resource version") as gone:
        api.store.since("configmaps", start)
    assert gone.value.code == 410
    last = api.store.version
    assert [e.object["data"]["n"] for e in api.store.since("configmaps", last - 2)] == ["3", "4"]
    assert api.list("configmaps", at=last - 1)[0]["data"]["n"] == "3"
    api.store.compact()
    with pytest.raises(ApiError, match="too old"):
        api.list("configmaps", at=last - 1)


def test_status_and_specification_do_not_touch_each_other() -> None:
    api = Api()
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, **pod("p")}}
    spec["template"]["metadata"] = {"labels": {"a": "b"}}
    made = api.create(
        "deployments.apps", {"metadata": {"name": "d"}, "spec": spec, "status": {"replicas": 9}}, "default"
    )
    assert "status" not in made
    told = api.set_status("deployments.apps", "d", "default", {"replicas": 1, "observedGeneration": 1})
    assert told["metadata"]["generation"] == 1
    changed = clone(told)
    changed["spec"]["replicas"] = 3
    changed["status"] = {"replicas": 7}
    kept = api.update("deployments.apps", changed, "default")
    assert (kept["metadata"]["generation"], kept["status"]["replicas"]) == (2, 1)


def test_calls_cost_microseconds(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api()
    count = 1000
    start = time.perf_counter()
    for number in range(count):
        api.create("pods", pod(f"p{number}"), "default")
    created = time.perf_counter()
    for number in range(count):
        api.set_status("pods", f"p{number}", "default", {"phase": "Running"})
    changed = time.perf_counter()
    for number in range(count):
        api.get("pods", f"p{number}", "default")
    read = time.perf_counter()
    figures = [
        (after - before) / count * 1e6 for before, after in ((start, created), (created, changed), (changed, read))
    ]
    with capsys.disabled():
        print("\nin-process calls: create {:.0f} us, set_status {:.0f} us, get {:.1f} us".format(*figures))
    assert figures[0] < 2000
    assert figures[2] < 50


def test_a_namespace_has_its_default_service_account() -> None:
    api = Api()
    api.create("namespaces", {"metadata": {"name": "n"}})
    assert api.get("serviceaccounts", "default", "n")


def test_built_in_kinds_refuse_wrong_types_and_keep_odd_field_names() -> None:
    api = Api()
    probe = {"exec": {"command": ["true"]}}
    container = {
        "name": "c",
        "image": "i",
        "livenessProbe": probe,
        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
    }
    by = Caller(validation="Strict")
    made = api.create("pods", {"metadata": {"name": "p"}, "spec": {"containers": [container]}}, "default", by=by)
    assert made["spec"]["containers"][0]["livenessProbe"]["exec"] == {"command": ["true"]}
    with pytest.raises(ApiError, match="json: cannot unmarshal string into Go struct field Service") as refused:
        api.create("services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": "x"}]}}, "default")
    assert refused.value.code == 400
