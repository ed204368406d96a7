"""The requests that a scenario defines, each for a host and a port that somebody has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshbdd.errors import BadInput, Place
from meshbdd.load import Message, read_message
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.hosts import check_host, resolves


class Defined:
    """The defined requests, by name.

    Args:
        environment: What the run shares.
        traced: Whether they carry a trace context (``traceparent``).

    Attributes:
        resolves: Whether the name service outside of the cluster knows a host.
    """

    def __init__(self, environment: Environment, *, traced: bool) -> None:
        self._environment = environment
        self._traced = traced
        self._messages: dict[str, Message] = {}
        self._known_hosts: set[tuple[str, int]] = set()
        self._fixed_ids: set[str] = set()
        self.resolves: Callable[[str], bool] = resolves

    @property
    def all(self) -> Mapping[str, Message]:
        """All of them."""
        return self._messages

    def add(self, name: str, text: str, place: Place | None) -> None:
        """Remember a request."""
        message = read_message(name, text, place)
        self._messages[name] = message.traced() if self._traced else message

    def get(self, name: str) -> Message:
        """A request that is about to be sent.

        Raises:
            BadInput: there is none of that name, or it asks a host or a port that nobody has.
        """
        if name not in self._messages:
            known = ", ".join(f'"{known}"' for known in self._messages) or "none"
            raise BadInput(
                "MB0502",
                f'There is no request "{name}"; defined are: {known}.',
                help=f'define it: Given the request "{name}":',
            )
        message = self._messages[name]
        if message.fixed_id:
            self._fixed_ids.add(name)
        if (asked := (message.host, message.port)) not in self._known_hosts:
            check_host(self._environment.cluster, message, self._environment.namespace, self.resolves)
            self._known_hosts.add(asked)
        return message

    def see_ids_differ(self) -> None:
        """See that calls can be told apart by the requests that they belong to.

        Raises:
            BadInput: a request that was sent bears the same ``x-request-id`` each time.
        """
        if self._fixed_ids:
            raise BadInput(
                "MB0526",
                f'The request "{min(self._fixed_ids)}" has a fixed header x-request-id, so what it was called for cannot be '
                "counted per request.",
                help="leave the header out, or write ${uuid} in it",
            )
