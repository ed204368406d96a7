"""Which DestinationRules count for a host, and for whose calls to it: a rule may be for a pattern of hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from meshbdd.sense.reading import EVERYWHERE, Object, at, namespace_of, visible_in


class Rules:
    """All DestinationRules of a world.

    Args:
        rules: The full name, or the pattern, of hosts that each is for, and the rule; the oldest first.
        root: The mesh's root namespace.
    """

    def __init__(self, rules: Iterable[tuple[str, Object]], root: str) -> None:
        self._root = root
        self._by_host: dict[str, dict[str, list[Object]]] = defaultdict(lambda: defaultdict(list))
        for host, rule in rules:
            self._by_host[namespace_of(rule)][host].append(rule)
        self._patterns = {
            namespace: sorted((host for host in hosts if host.startswith("*")), key=len, reverse=True)
            for namespace, hosts in self._by_host.items()
        }

    def governing(self, host: str, home: str, caller: str) -> list[Object]:
        """The rules that callers take for a host.

        They look into their own namespace, the host's and the root namespace; the first with a rule that they see decides. There
        the most specific host wins, and Istio merges the rules for one and the same (istio/istio
        ``pilot/pkg/model/push_context.go``, ``destinationRule``). One for some pods is for these alone: see ``for_some``.

        Args:
            host: The full name.
            home: The namespace of the Service or ServiceEntry.
            caller: The callers' namespace.
        """
        for namespace in dict.fromkeys((caller, home, self._root)):
            for found in self._over(namespace, host):
                rules = [rule for rule in found if not _chooses(rule)]
                exported = [rule for rule in rules if namespace == caller or visible_in(rule) != {namespace}]
                seen = [rule for rule in exported if visible_in(rule) & {EVERYWHERE, caller}]
                if seen:
                    return seen
                if exported and namespace != caller:
                    break  # Istio finds the most specific host before it asks who sees it
        return []

    def for_some(self, host: str, caller: str) -> list[Object]:
        """The rules that some pods of a namespace alone take for a host; they are never exported."""
        return [rule for found in self._over(caller, host) for rule in found if _chooses(rule)]

    def over(self, host: str) -> list[Object]:
        """Every rule that takes a host in, whoever looks at it."""
        return [rule for namespace in list(self._by_host) for found in self._over(namespace, host) for rule in found]

    def _over(self, namespace: str, host: str) -> Iterator[list[Object]]:
        """The rules of a namespace that take a host in, the most specific first."""
        by_host = self._by_host.get(namespace, {})
        patterns = (name for name in self._patterns.get(namespace, ()) if host.endswith(name[1:]))
        for name in (host, *patterns):
            if name in by_host:
                yield by_host[name]


def _chooses(rule: Object) -> bool:
    return bool(at(rule, "spec", "workloadSelector"))
