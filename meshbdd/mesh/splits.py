"""What a split says, whatever the mesh: its subsets and their weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd

from meshbdd.errors import BadInput
from meshbdd.intents import Split

_PER_PERCENT = 100
"""A hundredth of a percent is the finest share."""


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
