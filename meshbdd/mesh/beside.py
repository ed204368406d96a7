"""What a manifest would take away from the changes that are in force, whatever the mesh."""

from __future__ import annotations

from collections.abc import Iterable

from meshbdd.errors import BadInput
from meshbdd.mesh.base import Plan

Written = tuple[tuple[str, str, str], tuple[str, ...]]
"""Kind, name and namespace of an object, and the path of what is written in it."""

BEFORE = "apply the manifest before that step"


def refuse_replacing(written: Iterable[Written], in_force: Iterable[Plan]) -> None:
    """See that a manifest writes nothing over what a step has changed.

    Raises:
        BadInput: it would.
    """
    made = [(edit.target, edit.path, plan) for plan in in_force if plan.intent is not None for edit in plan.edits]
    for target, path in written:
        for other, theirs, plan in made:
            if other == target and all(mine == own for mine, own in zip(path, theirs, strict=False)):
                what = "" if len(path) == 1 else f"{'.'.join(path)} of "
                raise BadInput(
                    "MB0471",
                    f"The manifest would replace {what}{target[0]} {target[1]}, by which «{plan.summary}» is in force, so that "
                    "would be lost.",
                    help=BEFORE,
                )
