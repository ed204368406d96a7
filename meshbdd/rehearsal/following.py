"""Which steps are refused only since an earlier one was: of mistakes that follow from one, that one is told. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from meshbdd.errors import MeshbddError

_NO_REQUEST, _NOT_APPLIED, _NOTHING_DONE = "MB0502", "MB0506", "MB0507"
_UNKNOWN = {"MB0404", "MB0405", "MB0414", "MB0508"}
"""A namespace, a service, a manifest or a step that nobody knows: it may be any one, misspelt."""
_LACKING = {
    "MB0404": {"Namespace"},
    "MB0405": {"Service", "Deployment"},
    "MB0525": {"Service", "Namespace"},
    "MB0528": {"Service"},
}
"""A namespace, a service, which as a mere client has but a Deployment, or a port that is not there → the kinds of objects with
which a manifest that is not applied may have brought it."""

_DEFINES = re.compile(r'the request "([^"]+)":')
_APPLIES = re.compile(r'the manifest "([^"]+)" is applied')
_REMOVES = re.compile(r'the manifest "([^"]+)" is removed')


def follows(
    error: MeshbddError, text: str, refused: Mapping[str, str], left_out: Iterable[tuple[str, str]] = ()
) -> bool:
    """Whether a step is refused only since one was that would have made what it lacks.

    Args:
        error: What the step is refused for.
        text: The step.
        refused: The earlier steps of its scenario that were refused, or not understood → their codes.
        left_out: The kinds and names of the objects in manifests that earlier steps did not apply, be it that a run skips them.
    """
    code = error.code
    brings = _LACKING.get(code, ())
    if any(kind in brings and f'"{name}"' in error.sentence for kind, name in left_out):
        return True
    if code == _NO_REQUEST:
        return any(f'"{name}"' in text for name in _named(_DEFINES, refused))
    if code not in {_NOT_APPLIED, _NOTHING_DONE}:
        return False
    applied = _named(_APPLIES, refused)
    if not _UNKNOWN.isdisjoint(refused.values()):
        return True
    if removes := _REMOVES.fullmatch(text):
        return removes[1] in applied
    # a manifest's VirtualService may have been about any service
    return bool(applied) or any(_service_in(text) == _service_in(earlier) for earlier in refused)


def _named(what: re.Pattern[str], texts: Mapping[str, str]) -> set[str]:
    return {found[1] for text in texts if (found := what.fullmatch(text))}


def _service_in(text: str) -> str:
    """The name that a step about a service begins with, without its namespace."""
    return text.partition(" ")[0].partition(".")[0]
