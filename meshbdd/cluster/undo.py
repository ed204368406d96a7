"""Taking changes back, by what stands in the objects themselves: anyone can do it, at any time, any number of times."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from meshbdd.cluster.client import FIELD_MANAGER, ApiFailure, Cluster
from meshbdd.cluster.completed import completed
from meshbdd.cluster.record import (
    ROUTE_PREFIX,
    ROUTES,
    RUN,
    Object,
    Record,
    digest,
    mark,
    read_path,
    unmark,
    without_routes,
    write_path,
)
from meshbdd.cluster.revert import Make, restored_managers, revert, says_the_same
from meshbdd.errors import BadInput, MeshbddError, RestoreIncomplete
from meshbdd.units import Duration

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_RECOVER = "run the features again when the API answers: the next run undoes it before anything else"
_MEND = "mend what it refuses, then run the features again: the next run undoes it before anything else"
_SIGN_IN = "give the kubeconfig a valid token, then run the features again: the next run undoes it before anything else"
_FORBIDDEN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_REFUSED = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""Statuses of what the API will not take. A conflict passes, and so may what is too much at the moment or blames the server."""
_STARTING = "not yet ready to handle request"
"""What an API server says with 403 right after its start."""
_PASSING = ("admission webhook", "ValidatingAdmissionPolicy", _STARTING)
"""Words of refusals that may not last, whatever their status: what a webhook or a policy denies now, it may let pass later.

kubernetes apiserver pkg/admission: plugin/webhook/errors/statuserror.go, plugin/policy/validating/dispatcher.go, handler.go.
"""


def undo_object(
    cluster: Cluster,
    kind: str,
    name: str,
    namespace: str,
    run: str,
    budget: Duration,
    *,
    id: str | None = None,  # noqa: A002 - the layer's own word
    again: Mapping[str, Make] | None = None,
    made: str = "",
) -> str | None:
    """Take what ``run`` did to an object back.

    Args:
        cluster: Where.
        kind: The object's kind.
        name: Its name.
        namespace: Its namespace.
        run: The run's id.
        budget: How long to try; one try is always made.
        id: Only this change; ``None``: everything of the run.
        again: How to make changes that stay again, by their ids.
        made: Uid of the object, where the run made it and knows.

    Returns:
        A sentence about what others had changed and was kept; ``None`` where the object is as it was.

    Raises:
        RestoreIncomplete: it could not be done within the budget, or the API refuses it and says so again.
        BadInput: a change that stays stands on this one.
    """
    deadline = time.monotonic() + budget.seconds
    pause = _FIRST_PAUSE_SECONDS
    refused = ""
    while True:
        try:
            live = cluster.find(kind, name, namespace)
            return (
                _undo_once(cluster, live, run, id, again, made) if live is not None else None
            )  # nothing is resurrected
        except BadInput:
            raise
        except MeshbddError as error:
            status = error.status if isinstance(error, ApiFailure) else 0
            # somebody may have written between the look and the write, so a refusal counts once it is repeated
            lasts = status in _FORBIDDEN or (status in _REFUSED and error.sentence == refused)
            if (lasts and not _may_pass(error)) or time.monotonic() + pause > deadline:
                raise RestoreIncomplete(
                    "MB0313",
                    f"{kind} {name}.{namespace} still carries the change of run {run}: {error.sentence}",
                    help=_action(status, error),
                ) from error
            refused = error.sentence if status in _REFUSED else ""
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads runs that wait for the same API
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _may_pass(error: MeshbddError) -> bool:
    """Whether what refuses may let the same write pass later."""
    return any(words in error.sentence for words in _PASSING)


def _action(status: int, error: MeshbddError) -> str:
    """What helps against a refusal that did not pass."""
    if status not in _FORBIDDEN | _REFUSED or _STARTING in error.sentence:
        return _RECOVER
    return _SIGN_IN if status == HTTPStatus.UNAUTHORIZED and not _may_pass(error) else _MEND


def leaves_it(
    cluster: Cluster,
    target: tuple[str, str, str],
    run: str,
    ids: Collection[str],
    again: Mapping[str, Make],
    attempts: int = 5,
) -> bool:
    """Whether an object will say what it says now once some changes of it are taken back, as where a later one says all of it.

    Args:
        cluster: Where; nothing is written.
        target: The object: kind, name, namespace.
        run: The run's id.
        ids: The changes.
        again: How to make changes that stay again, by their ids.
        attempts: How often to ask where somebody else writes meanwhile.

    Raises:
        ApiFailure: the API does not tell what the object says.
        Unanswered: no answer came.
    """
    live = cluster.find(*target)
    record = Record.of(live) if live is not None else None
    if live is None or record is None or record.run != run:
        return False
    try:
        done = revert(live, record, ids, again)
    except BadInput:  # the undo says it
        return False
    if done.obj is None:
        return False
    if done.complete or says_the_same(live, done.obj):
        return says_the_same(live, done.obj)
    try:  # a change that is made again says what the tester wrote, and the live object what the API made of that
        return says_the_same(live, cluster.replace(done.obj, dry_run=True))
    except ApiFailure as failure:
        if failure.status != HTTPStatus.CONFLICT or attempts == 1:
            return False
    return leaves_it(cluster, target, run, ids, again, attempts - 1)  # somebody wrote first, a status for instance


def _undo_once(
    cluster: Cluster, live: Object, run: str, id_: str | None, again: Mapping[str, Make] | None, made: str
) -> str | None:
    record = Record.of(live)
    if record is None or record.run != run:
        return _strip(cluster, live, id_ or f"{ROUTE_PREFIX}{run}-", run, "had lost its undo record")
    known = record.uid or made
    if record.cluster != cluster.uid or (known and known != live["metadata"]["uid"]):
        return _strip(cluster, live, f"{ROUTE_PREFIX}{run}-", run, "was made anew by somebody with our routes in it")
    if id_ is not None and all(layer.id != id_ for layer in record.layers):
        return None
    done = revert(live, record, None if id_ is None else {id_}, again)
    if done.obj is None:
        cluster.delete(live)
    elif done.complete and not done.foreign:
        _restore(cluster, live, done.obj, record)
    else:
        cluster.replace(completed(cluster, done.obj))
    if not done.foreign:
        return None
    kept = "that change was kept" if done.obj is not None else "it was deleted, since this run had made it"
    return f"{_told(live)} was changed by {_last_writer(live)} meanwhile; {kept}"


def _restore(cluster: Cluster, live: Object, original: Object, record: Record) -> None:
    """Write the original, then take the record out and set managedFields, where GitOps tools read who owns what.

    Two writes, because a write that changes fields also claims them. The record goes with the second one, which only
    removes: whoever is killed between the two leaves an object that can still be restored wholly.
    """
    marked = copy.deepcopy(original)
    mark(marked, record)
    written = live if marked == live else cluster.replace(marked)
    wanted = copy.deepcopy(written)
    unmark(wanted)
    managers = restored_managers(written, record, FIELD_MANAGER)
    if managers is not None and digest(wanted) == record.before:
        wanted["metadata"]["managedFields"] = managers
    cluster.replace(wanted)


def _strip(cluster: Cluster, live: Object, prefix: str, run: str, why: str) -> str | None:
    """No record says how it was: the names of tagged routes are enough to take those out."""
    wanted = copy.deepcopy(live)
    now = read_path(live, ROUTES)
    if now is not None:
        write_path(wanted, ROUTES, without_routes(now, prefix))
    if (live["metadata"].get("labels") or {}).get(RUN) == run:
        unmark(wanted)
    if wanted == live:
        return None
    cluster.replace(wanted)
    return f"{_told(live)} {why}; its tagged routes were removed"


def _told(live: Mapping[str, Any]) -> str:
    return f"{live['kind']} {live['metadata']['name']}.{live['metadata']['namespace']}"


def _last_writer(live: Object) -> str:
    entries = [e for e in live["metadata"].get("managedFields") or [] if e.get("manager") != FIELD_MANAGER]
    if not entries:
        return "somebody"
    last = max(entries, key=lambda entry: str(entry.get("time", "")))
    return f"{last.get('manager', 'somebody')} ({last.get('time', 'time unknown')})"
