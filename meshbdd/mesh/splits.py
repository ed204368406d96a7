"""What a split says, whatever the mesh: its subsets and their weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd

from meshbdd.errors import BadInput
from meshbdd.intents import Split


def weights_of(intent: Split) -> Mapping[str, int]:
    """Subset → its weight: whole numbers in the proportion of the shares.

    Raises:
        BadInput: the shares do not sum to 100 %, or a subset stands twice.
    """
    total = sum(share.value for _, share in intent.shares)
    if abs(total - 100) > 1e-9:
        raise BadInput(
            "MB0425", f"The shares of {intent.service} sum to {total:g}%, not to 100%.", help="mend the percentages"
        )
    names = [name for name, _ in intent.shares]
    if len(set(names)) < len(names):
        raise BadInput("MB0426", f'The subset "{names[0]}" stands twice.', help="name two different subsets")
    parts = [round(share.value * 100) for _, share in intent.shares]
    divisor = gcd(*parts) or 1
    return {name: part // divisor for name, part in zip(names, parts, strict=True)}
