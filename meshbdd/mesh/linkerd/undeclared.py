"""Ports of pods that no container declares: a Server does not decide there from the first connection on.

A proxy asks for the policies of the ports that its pod declares, or is probed at by HTTP, as it starts; for that of any other
port as somebody connects, and it judges this connection by the default that it was injected with. So it does again once nobody
has been connected for a while: linkerd2-proxy app/inbound/src/{accept.rs,policy/store.rs}, linkerd2 pkg/inject/inject.go,
``getPodInboundPorts``. The kubelet's connections are such as well: where a pod is not ready before one of them, and they come
often enough, no caller's is the first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import Access, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.catalog import Catalog, has_ended
from meshbdd.mesh.linkerd.adding_up import undoing
from meshbdd.mesh.linkerd.backend import DEFAULT_POLICY
from meshbdd.mesh.linkerd.behind import behind
from meshbdd.mesh.linkerd.opening import lets_everybody_in
from meshbdd.mesh.linkerd.servers import ACCESS, DENY, OPEN, decider, skips
from meshbdd.pod_spec import containers, dialled_until_ready, variable
from meshbdd.sidecars import LINKERD
from meshbdd.units import Duration

Object = Mapping[str, Any]
_INJECTED = "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY"
"""Of the proxy's container, as the injector writes it."""
_IDLE = "LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT"
"""Of the proxy's container: for how long it keeps a policy that nobody's connection needs."""
_IDLE_ASKED = "config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout"
"""What the injector takes that from."""
_IDLE_SECONDS = 90
"""So long it is where nothing says otherwise."""
_PROBES = ("readinessProbe", "livenessProbe")


def see_declared(catalog: Catalog, service: ServiceRef, intent: Access | MutualTls) -> None:
    """See that a service's proxies keep out whom a step keeps out from the first connection on.

    Args:
        catalog: Reads the cluster.
        service: The service.
        intent: The step's.

    Raises:
        BadInput: at some port one does not.
    """
    for some in behind(catalog, service):
        for pod in some.pods:
            for port in some.ports_at(pod):
                refuse_late(intent, pod, port, f"«{intent}»")


def refuse_late(intent: Access | MutualTls, pod: Object, port: int, what: str) -> None:
    """See that a pod's proxy keeps out at a port whom a step keeps out from the first connection on.

    Args:
        intent: The step's.
        pod: The pod, or one that is to come.
        port: Its port.
        what: What begins a sentence about the step.

    Raises:
        BadInput: it does not.
    """
    keeps_out = isinstance(intent, Access) or intent.mode is TlsMode.STRICT
    if not keeps_out or skips(pod, port) or not asks_late(pod, port):
        return
    if isinstance(intent, MutualTls) and not default_is_open(pod):
        return
    raise BadInput(
        "MB0483",
        f"{what} would not hold at port {port} of pod {pod['metadata']['name']}: no container declares that port, so the proxy asks "
        f"for its policy only when somebody connects, and judges that connection by {_whose_default(pod)}.",
        help=declaring(port),
    )


def declaring(port: int) -> str:
    """What helps."""
    return f"declare port {port} under `ports:` of the container"


def first_connection(catalog: Catalog, pod: Object, port: int, *, rejected: bool) -> str:
    """Why an answer to a client without an identity need not be that of the next connection; empty where it is.

    Args:
        catalog: Reads the cluster.
        pod: The pod that was asked.
        port: The port on which it listens.
        rejected: Whether the client was rejected.
    """
    if skips(pod, port) or not asks_late(pod, port):
        return ""
    server = decider(pod, port, catalog.all("Server", pod["metadata"]["namespace"]))
    if server is None:
        return ""
    is_open = server["spec"].get(ACCESS[-1], DENY) in OPEN
    if rejected:  # whoever the policies let pass, by one of the two others may do so
        tells = not (default_is_open(pod) or is_open or any(undoing(catalog, server, None)))
    else:  # policies may let others pass than this client, or than what it asked for
        tells = not default_is_open(pod) or is_open or lets_everybody_in(catalog, server)
    if tells:
        return ""
    return (
        f"no container declares port {port} of pod {pod['metadata']['name']}, so the first connection to it goes by "
        f"{_whose_default(pod)}, and the others by Server {server['metadata']['name']}"
    )


def asks_late(pod: Object, port: int) -> bool:
    """Whether a pod's proxy asks for the policy of a port only when somebody connects to it; a pod without one asks for none."""
    meshed = LINKERD.label in (pod["metadata"].get("labels") or {})
    return meshed and not has_ended(pod) and port not in {*_known(pod["spec"]), *_kept(pod)}


def _known(spec: Object) -> Iterator[int]:
    """The ports for whose policies a proxy asks as it starts."""
    for container in containers(spec):
        for port in container.get("ports") or []:
            yield int(port["containerPort"])
        for probe in _PROBES:
            said = ((container.get(probe) or {}).get("httpGet") or {}).get("port")
            if isinstance(said, int):
                yield said


def _kept(pod: Object) -> Iterator[int]:
    """The ports whose policies a proxy has whenever its pod is ready: the kubelet connects to them often enough."""
    told, idle = _injected(pod, _IDLE, _IDLE_ASKED), float(_IDLE_SECONDS)
    with contextlib.suppress(BadInput):  # the injector leaves out what it cannot read, too
        idle = Duration.parse(told).seconds if told else idle
    for port, period in dialled_until_ready(pod["spec"]):
        if period < idle:
            yield port


def default_is_open(pod: Object) -> bool:
    """Whether a proxy lets callers without an identity pass where it knows no policy; so it does where nobody says otherwise."""
    return _default(pod) in {None, *OPEN}


def _default(pod: Object) -> str | None:
    """The default policy that a proxy was injected with; ``None``: the mesh's."""
    return _injected(pod, _INJECTED, DEFAULT_POLICY)


def _injected(pod: Object, name: str, asked: str) -> str | None:
    """What a proxy was injected with, by its environment; for one that is to be what an annotation asks for."""
    return variable(pod["spec"], LINKERD.container, name) or (pod["metadata"].get("annotations") or {}).get(asked)


def _whose_default(pod: Object) -> str:
    said = _default(pod)
    return f"the pod's default ({said})" if said else "the mesh's default"
