"""A scenario's requests: what is defined, where it is sent from, and the samples that the claims judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshbdd.claims import Claim, Verdict
from meshbdd.claims.share import Explain, Stopped
from meshbdd.errors import BadInput, EnvironmentBroken, Inconclusive, Place
from meshbdd.evidence import TrafficSent
from meshbdd.load import Entry, Message, Sample, Vantage, read_message, send
from meshbdd.scenario.enough import Enough
from meshbdd.scenario.environment import Environment

OUTBOUND_ANNOTATION = "lab.meshbdd.dev/outbound"
CLIENT, PLAIN_CLIENT = "client", "client-plain"
USERS = 5
"""Users at a time that send enough requests: so many that it is quick, so few that they do not overload a service."""


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
        self.samples: Sequence[Sample] = []
        """What the last step that sent something got; the claims that follow judge it."""
        self._enough: Enough | None = None
        self._unused: str | None = None

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
        self._leave_enough()
        message, vantage = self._message(name), self._vantage(PLAIN_CLIENT if outside else CLIENT)
        self.samples = self._send(message, vantage, count, users)
        self._environment.tell(TrafficSent(name, vantage.name, message.host, tuple(self.samples)))

    def _send(self, message: Message, vantage: Vantage, count: int, users: int) -> list[Sample]:
        samples = send(message, vantage, self._environment.settings.request_timeout, count, min(users, count))
        self._sent([sample.request_id for sample in samples])
        return samples

    def enough(self, name: str, users: int | None = None, at_most: int | None = None) -> None:
        """Let the claims that follow send as many requests as they need."""
        self._leave_enough()
        message, vantage = self._message(name), self._vantage(CLIENT)
        within = self._environment.settings.enough_timeout
        self._enough = Enough(name, lambda count: self._send(message, vantage, count, users or USERS), within, at_most)
        self.samples = self._enough.samples

    def _leave_enough(self) -> None:
        """Whether the claims asked for any, for ``close``: nothing sent and nothing judged must not be green."""
        if self._enough is not None and not self._enough.judged:
            self._unused = self._unused or self._enough.name
        self._enough = None

    def mesh_changes(self, summary: str) -> None:
        """The mesh is about to change: a stream that began before must not go on after it."""
        if self._enough is not None:
            why = f"and the mesh was changed («{summary}») before the claim"
            self._enough.end(Stopped(why, "claim first, then change"))

    def judge(self, claim: Claim, explain: Explain) -> Verdict:
        """Judge what the last step that sends something sent, or lets send."""
        if self._enough is None:
            return claim.judge(self.samples, explain)
        before = len(self._enough.samples)
        try:
            return self._enough.judge(claim, explain)
        finally:
            drawn = tuple(self._enough.samples[before:])
            if drawn:
                message = self._message(self._enough.name)
                self._environment.tell(TrafficSent(message.name, CLIENT, message.host, drawn))

    def close(self) -> None:
        """The scenario is over.

        Raises:
            Inconclusive: enough requests were to be sent, and no claim asked for any.
        """
        self._leave_enough()
        if self._unused is not None:
            raise Inconclusive(
                "MB0520",
                f'Enough "{self._unused}" requests were to be sent, but no claim follows that asks for any.',
                help="write the claims that they are for after it",
            )

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
