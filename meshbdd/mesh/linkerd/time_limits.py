"""Time limits that end calls before the one does that a step asks for, whichever of the two is there first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput
from meshbdd.intents import Timeout
from meshbdd.mesh.base import Context, preview
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.annotations import seconds_of
from meshbdd.mesh.linkerd.own_words import TIMEOUT, reaches_some, with_words_of_their_own

_RESPONSE = f"{TIMEOUT}response"


def refuse_earlier(catalog: Catalog, intent: Timeout, written: Sequence[Edit] = ()) -> None:
    """See that no other time limit ends calls before the one that is asked for does.

    Args:
        catalog: Reads the cluster.
        intent: What is asked for.
        written: What a manifest is about to write, where the step was there before it.

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
            raise BadInput(
                "MB0467",
                f"{'With the manifest ' if written else ''}«{intent}» would not come true: {_RESPONSE} of {obj['kind']} "
                f"{meta['name']} is {said}, and the shorter of the two counts.",
                help="take that annotation out of the manifest, or let the step ask for less"
                if written
                else "ask for less than that, or take the annotation away before",
            )


def refuse_ending_earlier(catalog: Catalog, written: Iterable[Edit], context: Context) -> None:
    """See that a manifest brings no time limit that ends calls before that of a step in force does: a service's latest.

    Raises:
        BadInput: it does.
    """
    limits = tuple(edit for edit in written if edit.path[-1] == _RESPONSE)
    in_force = (plan.intent for plan in context.in_force)
    latest = {intent.service: intent for intent in in_force if isinstance(intent, Timeout)}
    for intent in latest.values() if limits else ():
        refuse_earlier(catalog, intent, limits)
