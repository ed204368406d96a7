"""The methods of HTTP: one that nobody knows is a slip of the pen, and no proxy passes it on."""

from __future__ import annotations

import difflib

_KNOWN = """
ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL
MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH
SOURCE SUBSCRIBE TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UNSUBSCRIBE UPDATE UPDATEREDIRECTREF VERSION-CONTROL
"""
METHODS = frozenset(_KNOWN.split())
"""https://www.iana.org/assignments/http-methods, and a few that caches and devices know."""


def instead_of(text: str) -> str | None:
    """What to do about a method: ``None`` where it is one, else the advice to write another.

    Args:
        text: What stands where a method should; methods have upper-case letters (RFC 9110, 9.1).
    """
    if text in METHODS:
        return None
    near = difflib.get_close_matches(text.upper(), ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"), 1)
    near = near or difflib.get_close_matches(text.upper(), sorted(METHODS), 1)
    return f"write {near[0]}" if near else "write one like POST"
