"""How many connections a process may have open."""

from __future__ import annotations

import resource
import select

from meshbdd.errors import EnvironmentBroken

_BESIDES = 256
"""Descriptors for everything that is no connection of the load."""


def allow_descriptors(connections: int) -> None:
    """See that so many connections can be open at once; without a descriptor one would look as if it had been refused.

    Raises:
        EnvironmentBroken: the machine does not allow it, or has no epoll.
    """
    if not hasattr(select, "epoll"):
        raise EnvironmentBroken("MB0518", "meshbdd sends requests on Linux only so far.", help="run it on Linux")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _BESIDES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise EnvironmentBroken(
                "MB0517",
                f"A process may have {hard} files open here, and {connections} connections need {wanted}.",
                help=f"raise the limit (ulimit -Hn {wanted}), or send from fewer users",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
