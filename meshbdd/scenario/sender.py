"""How a scenario's requests are sent, whoever they are for: from which vantage, with which fields kept, and told as what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshbdd.evidence import TrafficSent
from meshbdd.intents import ServiceRef
from meshbdd.load import Message, Pace, Plan, Result, Sample, Vantage
from meshbdd.scenario.defined import Defined
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.hosts import endpoints, service_named
from meshbdd.scenario.loaded import LoadedSamples
from meshbdd.scenario.sending import carry_out
from meshbdd.scenario.vantages import CLIENT, PLAIN_CLIENT, Vantages
from meshbdd.units import Duration


class Sender:
    """Sends the requests of one scenario.

    Args:
        environment: What the run shares.
        traced: Whether requests carry a trace context (``traceparent``), because a claim asks where it gets to.
        fields: Paths of the fields that claims of the scenario ask for, kept of every answer.

    Attributes:
        requests: Those that the scenario defines.
    """

    def __init__(self, environment: Environment, *, traced: bool = False, fields: Sequence[str] = ()) -> None:
        self._environment = environment
        self._fields = tuple(dict.fromkeys(fields))
        self._vantages = Vantages(environment)
        self.requests = Defined(environment, traced=traced)

    def plan(
        self,
        message: Message,
        vantage: str = CLIENT,
        *,
        straight_to: str = "",
        users: int = 1,
        count: int | None = None,
        pace: Pace | None = None,
        duration: Duration | None = None,
    ) -> Plan:
        """How a request is to be sent.

        Args:
            message: The request.
            vantage: From where.
            straight_to: ``address:port`` to which the client outside the mesh connects instead.
            users: How many users at a time.
            count: How many requests.
            pace: When each begins; ``None``: when the one before has ended.
            duration: When no more are begun.
        """
        plan = Plan(
            message,
            self._vantages.of(vantage),
            users=users,
            pace=pace,
            count=count,
            duration=duration,
            timeout=self._environment.settings.request_timeout,
            fields=self._fields,
        )
        return replace(plan, vantage=Vantage(PLAIN_CLIENT, straight_to)) if straight_to else plan

    def send(self, plan: Plan, *, told: bool = True) -> Result:
        """Carry a plan out; what was sent until Ctrl-C is told, unless it is no more than a look."""

        def interrupted(partial: Result) -> None:
            if told:
                self.tell(plan, LoadedSamples(partial))

        result = carry_out(plan, interrupted)
        self._environment.sent.add(result.ids, plan.message.name)
        return result

    def tell(self, plan: Plan, samples: Sequence[Sample]) -> None:
        """Tell what was sent, and what became of it."""
        vantage = plan.vantage.name if plan.vantage else ""
        seen = samples.holding if isinstance(samples, LoadedSamples) else None
        rate = seen.told if seen else ""
        self._environment.tell(TrafficSent(plan.message.name, vantage, plan.message.host, samples, plan.message, rate))

    def asked(self, name: str) -> ServiceRef:
        """The service that a request names by its host."""
        return service_named(self.requests.get(name).host, self._environment.namespace)[0]

    def endpoints(self, name: str) -> list[str]:
        """``address:port`` of what is ready behind the Service that a request names."""
        return endpoints(self._environment.cluster, self.requests.get(name), self._environment.namespace)
