"""What planning would refuse of manifests on Linkerd, which takes objects that do nothing and says nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, cast

from meshbdd.errors import BadInput, MeshbddError

Object = dict[str, Any]

_TOLD_ALREADY = {"MB0404", "MB0405"}
"""A route's Service that is not there: MB0901 says so."""

UNREADABLE = {"MB0453", "MB0464", "MB0469"}
"""Annotations that Linkerd cannot read. Its webhook says so of a route's too, of the first alone."""

_BY_AGE = {"MB0468"}
"""Whose Server an older one overrules: of a policy's Server among the objects nobody knows the age."""


def refused(obj: Object, beside: Iterable[Object], there: Sequence[Object]) -> BadInput | None:
    """What a run would refuse an object for if it were applied beside others; ``None``: it is not refused.

    Of two routes for the same calls, or Servers for one port, the older one counts, and files do not tell which that is: so
    a route, or a Server, is not asked of beside another one.

    Args:
        obj: The object.
        beside: The others that are applied with it.
        there: The world without all of them.
    """
    from meshbdd.mesh.linkerd.objects import ROUTE_KINDS  # noqa: PLC0415 - slow to import

    kind = _kind(obj)
    if kind not in _kinds():
        return None
    rivals = next((kinds for kinds in (set(ROUTE_KINDS), {"Server"}) if kind in kinds), set[str]())
    error = _planned(obj, [*there, *(other for other in beside if _kind(other) not in rivals)])
    passed_over = _TOLD_ALREADY if kind == "Server" else _TOLD_ALREADY | _BY_AGE
    return None if error is None or error.code in passed_over else error


def _planned(obj: Object, there: Sequence[Object]) -> BadInput | None:
    from meshbdd.cluster import Cluster  # noqa: PLC0415 - slow to import
    from meshbdd.mesh import Context, Linkerd  # noqa: PLC0415
    from meshbdd.rehearsal.stage import StageCluster  # noqa: PLC0415

    cluster = cast("Cluster", StageCluster(there, "", lambda _: None))
    try:
        Linkerd(cluster, "check").plan_manifest([obj], Context())
    except BadInput as error:
        return error
    except MeshbddError:  # a step could not do it, which is no fault of the object; or only a run can tell
        return None
    except (KeyError, TypeError, AttributeError):  # without the lab nobody has looked at its shape
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            return _unattached(obj, cluster)
    return None


def _unattached(obj: Object, cluster: Any) -> BadInput | None:
    from meshbdd.mesh.linkerd.attachment import refuse_unattached  # noqa: PLC0415 - slow to import

    try:
        refuse_unattached(obj, cluster.list)
    except BadInput as error:
        return error
    return None


def _kinds() -> set[str]:
    """The kinds that Linkerd reads and a manifest may hold."""
    from meshbdd.mesh.linkerd import authorizing  # noqa: PLC0415 - slow to import
    from meshbdd.mesh.linkerd.objects import ROUTE_KINDS  # noqa: PLC0415

    policies = {authorizing.AUTHORIZATION, authorizing.RATE_LIMIT, authorizing.SERVER_AUTHORIZATION}
    return {"Server", "Service", *ROUTE_KINDS, *policies, *authorizing.AUTHENTICATIONS}


def _kind(obj: Object) -> str:
    from meshbdd.cluster.kinds import kind_of  # noqa: PLC0415 - slow to import

    return kind_of(obj)
