"""The official Python client against the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from conftest import Server
from kubernetes import client, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException

from tests.tools import until

GROUP, VERSION, PLURAL = "networking.istio.io", "v1", "virtualservices"
WHERE = (GROUP, VERSION, "default", PLURAL)


def virtual_service(name: str, host: str = "reviews") -> dict[str, object]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
    }


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[client.ApiClient]:
    made = server.client()
    yield made
    made.close()


@pytest.fixture
def custom(connection: client.ApiClient) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(connection)


def test_replace_with_resource_version_and_uid(custom: client.CustomObjectsApi) -> None:
    made = custom.create_namespaced_custom_object(*WHERE, virtual_service("put"))
    changed = {**made, "spec": {**made["spec"], "hosts": ["other"]}}
    kept = custom.replace_namespaced_custom_object(*WHERE, "put", changed, field_manager="tester")
    assert kept["metadata"]["generation"] == 2
    assert int(kept["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    with pytest.raises(ApiException) as stale:
        custom.replace_namespaced_custom_object(*WHERE, "put", changed)
    assert stale.value.status == 409
    assert "the object has been modified; please apply your changes to the latest version" in stale.value.body
    blind = {**kept, "metadata": {k: v for k, v in kept["metadata"].items() if k != "resourceVersion"}}
    with pytest.raises(ApiException) as unnumbered:
        custom.replace_namespaced_custom_object(*WHERE, "put", blind)
    assert unnumbered.value.status == 422
    assert "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update" in unnumbered.value.body
    another = {**kept, "metadata": {**kept["metadata"], "uid": "11111111-1111-1111-1111-111111111111"}}
    with pytest.raises(ApiException) as replaced:
        custom.replace_namespaced_custom_object(*WHERE, "put", another)
    assert replaced.value.status == 409
    assert "Precondition failed: UID in precondition" in replaced.value.body
    assert custom.get_namespaced_custom_object(*WHERE, "put") == kept


def test_dry_run_writes_nothing(custom: client.CustomObjectsApi) -> None:
    custom.create_namespaced_custom_object(*WHERE, virtual_service("dry"), dry_run="All")
    with pytest.raises(ApiException) as missing:
        custom.get_namespaced_custom_object(*WHERE, "dry")
    assert missing.value.status == 404


def test_pages(custom: client.CustomObjectsApi) -> None:
    for number in range(7):
        body = virtual_service(f"page-{number}")
        body["metadata"] = {"name": f"page-{number}", "labels": {"paged": "yes"}}
        custom.create_namespaced_custom_object(*WHERE, body)
    first = custom.list_namespaced_custom_object(*WHERE, limit=3, label_selector="paged=yes")
    custom.delete_namespaced_custom_object(*WHERE, "page-6")
    names = [item["metadata"]["name"] for item in first["items"]]
    token = first["metadata"]["continue"]
    while token:
        page = custom.list_namespaced_custom_object(*WHERE, limit=3, label_selector="paged=yes", _continue=token)
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"]["continue"]
    assert names == [f"page-{number}" for number in range(7)]  # one consistent snapshot, the deleted one included


def test_watch_resumes_and_ends(custom: client.CustomObjectsApi) -> None:
    start = custom.list_namespaced_custom_object(*WHERE)["metadata"]["resourceVersion"]
    custom.create_namespaced_custom_object(*WHERE, virtual_service("seen"))
    custom.patch_namespaced_custom_object(*WHERE, "seen", {"spec": {"hosts": ["b"]}})
    custom.delete_namespaced_custom_object(*WHERE, "seen")
    stream = watch.Watch().stream(
        custom.list_namespaced_custom_object, *WHERE, resource_version=start, timeout_seconds=1
    )
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in stream] == [
        ("ADDED", "seen"),
        ("MODIFIED", "seen"),
        ("DELETED", "seen"),
    ]


def test_watch_from_a_forgotten_version_is_gone(custom: client.CustomObjectsApi) -> None:
    with pytest.raises(ApiException) as gone:
        list(
            watch.Watch().stream(custom.list_namespaced_custom_object, *WHERE, resource_version="1", timeout_seconds=1)
        )
    assert gone.value.status == 410
    assert "too old resource version: 1" in gone.value.reason


def test_watch_follows_live_changes(custom: client.CustomObjectsApi, connection: client.ApiClient) -> None:
    watcher = watch.Watch()
    seen: list[str] = []

    def follow() -> None:
        api = client.CustomObjectsApi(connection)
        for event in watcher.stream(api.list_namespaced_custom_object, *WHERE, field_selector="metadata.name=live"):
            seen.append(event["type"])
            if event["type"] == "DELETED":
                return

    custom.create_namespaced_custom_object(*WHERE, virtual_service("live"))
    follower = threading.Thread(target=follow)
    follower.start()
    until("what there was", lambda: seen == ["ADDED"], seconds=10)  # a change before that is none that it follows
    custom.delete_namespaced_custom_object(*WHERE, "live")
    follower.join(10)
    assert seen == ["ADDED", "DELETED"]


def test_typed_clients(connection: client.ApiClient) -> None:
    core, apps = client.CoreV1Api(connection), client.AppsV1Api(connection)
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="typed")))
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"a": "b"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i")]),
    )
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels={"a": "b"}), template=template)
    apps.create_namespaced_deployment("typed", client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=spec))
    patched = apps.patch_namespaced_deployment("d", "typed", {"spec": {"replicas": 4}})
    assert patched.spec.replicas == 4
    assert patched.spec.template.spec.containers[0].image == "i"
    scale = apps.read_namespaced_deployment_scale("d", "typed")
    assert (scale.spec.replicas, scale.status.selector) == (4, "a=b")
    apps.patch_namespaced_deployment_scale("d", "typed", {"spec": {"replicas": 2}})
    assert apps.read_namespaced_deployment("d", "typed").spec.replicas == 2
    lease = client.V1Lease(metadata=client.V1ObjectMeta(name="l"), spec=client.V1LeaseSpec(holder_identity="me"))
    held = client.CoordinationV1Api(connection).create_namespaced_lease("typed", lease)
    held.spec.holder_identity = "you"
    client.CoordinationV1Api(connection).replace_namespaced_lease("l", "typed", held)
    asked = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="create", resource="pods", namespace="typed")
        )
    )
    assert client.AuthorizationV1Api(connection).create_self_subject_access_review(asked).status.allowed
    core.delete_namespace("typed")
    assert "typed" not in [namespace.metadata.name for namespace in core.list_namespace().items]


def test_dynamic_client_and_yaml(connection: client.ApiClient) -> None:
    services = dynamic.DynamicClient(connection).resources.get(api_version=f"{GROUP}/{VERSION}", kind="VirtualService")
    made = services.server_side_apply(body=virtual_service("dynamic"), namespace="default", field_manager="me")
    assert made.metadata.managedFields[0].operation == "Apply"
    with pytest.raises(ApiException) as unsupported:
        services.patch(body={"metadata": {"name": "dynamic"}}, namespace="default")
    assert unsupported.value.status == 415
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    utils.create_from_dict(connection, service, namespace="default")
    assert client.CoreV1Api(connection).read_namespaced_service("s", "default").spec.ports[0].target_port == 80


def test_a_crd_serves_its_resource_at_once(connection: client.ApiClient, custom: client.CustomObjectsApi) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.test.example"},
        "spec": {
            "group": "test.example", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip
    definitions = client.ApiextensionsV1Api(connection)
    definitions.create_custom_resource_definition(crd)
    told = definitions.read_custom_resource_definition("gadgets.test.example")
    assert {c.type: c.status for c in told.status.conditions} == {"NamesAccepted": "True", "Established": "True"}
    gadget = {"apiVersion": "test.example/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": "big"}}
    with pytest.raises(ApiException) as wrong:
        custom.create_namespaced_custom_object("test.example", "v1", "default", "gadgets", gadget)
    assert wrong.value.status == 422
    custom.create_namespaced_custom_object("test.example", "v1", "default", "gadgets", {**gadget, "spec": {"size": 3}})
    definitions.delete_custom_resource_definition("gadgets.test.example")
    with pytest.raises(ApiException) as gone:
        custom.list_namespaced_custom_object("test.example", "v1", "default", "gadgets")
    assert gone.value.status == 404
