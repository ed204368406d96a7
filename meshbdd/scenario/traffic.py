"""A scenario's requests: what is defined, where it is sent from, and the samples that the claims judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshbdd.errors import BadInput, EnvironmentBroken, Place
from meshbdd.evidence import TrafficSent
from meshbdd.load import Entry, Message, Sample, Vantage, read_message, send
from meshbdd.scenario.environment import Environment

OUTBOUND_ANNOTATION = "lab.meshbdd.dev/outbound"
CLIENT, PLAIN_CLIENT = "client", "client-plain"


class Traffic:
    """The requests of one scenario.

    Args:
        environment: What the run shares.
        sent: Told the ids of the requests that a step sent.
        traced: Whether requests carry a trace context (``traceparent``), because a claim asks where it gets to.
    """

    def __init__(
        self, environment: Environment, sent: Callable[[Sequence[str]], None], *, traced: bool = False
    ) -> None:
        self._traced = traced
        self._environment = environment
        self._sent = sent
        self._messages: dict[str, Message] = {}
        self._vantages: dict[str, Vantage] = {}
        self.samples: list[Sample] = []
        """What the last step that sent something got; the claims that follow judge it."""

    def define(self, name: str, text: str, place: Place | None) -> None:
        """Remember a request."""
        message = read_message(name, text, place)
        self._messages[name] = message.traced() if self._traced else message

    def _message(self, name: str) -> Message:
        if name not in self._messages:
            known = ", ".join(f'"{known}"' for known in self._messages) or "none"
            raise BadInput(
                "MB0502",
                f'There is no request "{name}"; defined are: {known}.',
                help=f'define it: Given the request "{name}":',
            )
        return self._messages[name]

    def _vantage(self, pod: str) -> Vantage:
        if pod not in self._vantages:
            pods = self._environment.cluster.list("Pod", self._environment.namespace, labels=f"app={pod}")
            running = [p for p in pods if (p.get("status") or {}).get("phase") == "Running"]
            if not running:
                raise EnvironmentBroken(
                    "MB0503",
                    f'There is no running client pod labelled app={pod} in namespace "{self._environment.namespace}".',
                    help="apply the manifests of meshbdd's folder vantage",
                )
            address = (running[0]["metadata"].get("annotations") or {}).get(OUTBOUND_ANNOTATION)
            if not address:
                raise EnvironmentBroken(
                    "MB0504",
                    f"The client pod {pod} cannot be entered from here; only the lab's pods can so far.",
                    help="run on the lab: --target lab",
                )
            self._vantages[pod] = Vantage(pod, address, Entry.SIDECAR if pod == CLIENT else Entry.PROXY)
        return self._vantages[pod]

    def send(self, name: str, count: int = 1, users: int = 1, *, outside: bool = False) -> None:
        """Send a request; its samples are what the claims that follow judge."""
        if count < 1 or users < 1:
            raise BadInput(
                "MB0505", f'"{name}" cannot be sent {count} times by {users} users.', help="send at least one request"
            )
        message, vantage = self._message(name), self._vantage(PLAIN_CLIENT if outside else CLIENT)
        self.samples = send(message, vantage, self._environment.settings.request_timeout, count, min(users, count))
        self._sent([sample.request_id for sample in self.samples])
        self._environment.tell(TrafficSent(name, vantage.name, message.host, tuple(self.samples)))

    def probe(self, method: str, url: str, agent: str, *, outside: bool = False) -> Sample:
        """Look at something with one request that is no part of the scenario's traffic; ``agent`` marks it in logs."""
        message = Message("probe", method, url, {"user-agent": agent}, None)
        vantage = self._vantage(PLAIN_CLIENT if outside else CLIENT)
        return send(message, vantage, self._environment.settings.request_timeout)[0]

    def traces(self) -> list[str]:
        """The trace ids of the samples, where their requests carried a trace context of ours."""
        return [sample.request_id.replace("-", "") for sample in self.samples] if self._traced else []

    def ask(self, name: str) -> Sample:
        """Send a request once, for its answer alone: no claim counts it."""
        return send(self._message(name), self._vantage(CLIENT), self._environment.settings.request_timeout)[0]
