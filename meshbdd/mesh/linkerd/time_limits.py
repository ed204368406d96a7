"""Time limits that end calls before the one does that a step asks for, whichever of the two is there first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput
from meshbdd.intents import Timeout
from meshbdd.mesh.base import Context, Left, Plan, preview
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.annotations import seconds_of
from meshbdd.mesh.linkerd.objects import ROUTE_KINDS
from meshbdd.mesh.linkerd.own_words import TIMEOUT, reaches_some, with_words_of_their_own

_RESPONSE = f"{TIMEOUT}response"


def refuse_earlier(catalog: Catalog, intent: Timeout, written: Sequence[Edit] = (), *, back: bool = False) -> None:
    """See that no other time limit ends calls before the one that is asked for does.

    Args:
        catalog: Reads the cluster, as it will be where a manifest is taken back.
        intent: What is asked for.
        written: What a manifest is about to write, where the step was there before it.
        back: Whether a manifest is about to be taken back.

    Raises:
        BadInput: one does.
    """
    own = list(with_words_of_their_own(catalog, intent.service, TIMEOUT))
    service = [catalog.service(intent.service)] if reaches_some(catalog, intent.service, own) else []
    for obj in (*service, *own):
        kind, meta = kind_of(obj), obj["metadata"]
        there = dict(obj)
        for edit in written:
            if edit.target == (kind, meta["name"], meta["namespace"]) and edit.path[-1] == _RESPONSE:
                there = preview(edit, there)
        said = (there["metadata"].get("annotations") or {}).get(_RESPONSE)
        if said is not None and 0 < seconds_of(said) < intent.after.seconds:  # 0 is no limit
            how = "With the manifest " if written else "Without the manifest " if back else ""
            raise BadInput(
                "MB0467",
                f"{how}«{intent}» would not come true: {_RESPONSE} of {obj['kind']} "
                f"{meta['name']} is {said}, and the shorter of the two counts.",
                help="take that annotation out of the manifest, or let the step ask for less"
                if written
                else "remove the manifest before that step, which has to ask for less then"
                if back
                else "ask for less than that, or take the annotation away before",
            )


def refuse_ending_earlier(catalog: Catalog, written: Iterable[Edit], context: Context) -> None:
    """See that a manifest brings no time limit that ends calls before that of a step in force does: a service's latest.

    Raises:
        BadInput: it does.
    """
    limits = tuple(edit for edit in written if edit.path[-1] == _RESPONSE)
    for intent in _latest(context.in_force) if limits else ():
        refuse_earlier(catalog, intent, limits)


def refuse_earlier_again(after: Catalog, left: Left, in_force: Iterable[Plan]) -> None:
    """See that no time limit comes back with a manifest that ends calls before that of a step in force does.

    Args:
        after: Reads the cluster without the manifest.
        left: What it will leave.
        in_force: What stays in force.

    Raises:
        BadInput: one does.
    """
    concerned = any(kind == "Service" or kind in ROUTE_KINDS for kind, _name, _home in left)
    for intent in _latest(in_force) if concerned else ():
        if after.find("Service", intent.service.name, intent.service.namespace):
            refuse_earlier(after, intent, back=True)


def _latest(in_force: Iterable[Plan]) -> list[Timeout]:
    """The time limits in force: of two for a service the later one."""
    found = (plan.intent for plan in in_force)
    return [*{intent.service: intent for intent in found if isinstance(intent, Timeout)}.values()]
