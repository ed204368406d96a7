"""What a split says, whatever the mesh: its subsets and their weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import gcd
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef, Split
from meshbdd.mesh.catalog import selected

_PER_PERCENT = 100
"""A hundredth of a percent is the finest share."""


class NoSuchSubset(BadInput):
    """A split names a subset that no pod is in.

    Args:
        service: What is split.
        name: The subset.
        labels: Those that its pods would have.
        offered: The subsets that the service has.
    """

    def __init__(self, service: ServiceRef, name: str, labels: Mapping[str, str], offered: Collection[str]) -> None:
        told = ", ".join(f"{key}={value}" for key, value in labels.items())
        super().__init__(
            "MB0424",
            f'{service} has no subset "{name}" with a pod: none has the label{"s" if len(labels) > 1 else ""} {told}.',
        )
        self.labels = dict(labels)
        self._offered: set[str] = set()
        self.offer(offered)

    def offer(self, more: Collection[str]) -> None:
        """Offer subsets beside those that are offered already: those of pods that come back, for instance."""
        self._offered |= {*more}
        self.help = f"name one of: {', '.join(sorted(self._offered)) or 'none'}"


def see_pods_in(
    service: ServiceRef,
    name: str,
    labels: Mapping[str, str],
    pods: Sequence[Mapping[str, Any]],
    others: Collection[str] = (),
) -> None:
    """See that some pod is in a subset.

    Args:
        service: What is split.
        name: The subset.
        labels: Those that its pods have.
        pods: The service's.
        others: Subsets that the service has beside those by the label ``version``.

    Raises:
        NoSuchSubset: none is.
    """
    there = [pod["metadata"].get("labels") or {} for pod in pods]
    if not any(selected(labels, own) for own in there):
        versions = {str(own.get("version") or "") for own in there} - {""}
        raise NoSuchSubset(service, name, labels, {*others} | versions)


def weights_of(intent: Split) -> Mapping[str, int]:
    """Subset → its weight: whole numbers in the proportion of the shares.

    Raises:
        BadInput: the shares do not sum to 100 %, a subset stands twice, or one would get nothing of the share that it has.
    """
    total = sum(share.value for _, share in intent.shares)
    if abs(total - 100) > 1e-9:
        raise BadInput(
            "MB0425", f"The shares of {intent.service} sum to {total:g}%, not to 100%.", help="mend the percentages"
        )
    names = [name for name, _ in intent.shares]
    if len(set(names)) < len(names):
        raise BadInput("MB0426", f'The subset "{names[0]}" stands twice.', help="name two different subsets")
    parts = [round(share.value * _PER_PERCENT) for _, share in intent.shares]
    for (name, share), part in zip(intent.shares, parts, strict=True):
        if share.value and not part:
            raise BadInput(
                "MB0459",
                f'{share} for "{name}" is no share that a split can have: it would be nothing.',
                help="write 0.01% or more",
            )
    divisor = gcd(*parts) or 1
    return {name: part // divisor for name, part in zip(names, parts, strict=True)}
