"""What may stand for an identity: linkerd2 policy-controller/runtime/src/validation.rs."""

from __future__ import annotations

import re

_SPIFFE = "spiffe://"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_LIKE = rf"^(\*|{_LABEL})(\.{_LABEL})*$"
_TRUST_DOMAIN = re.compile("[a-z0-9._-]+")
_SEGMENT = re.compile("[A-Za-z0-9._-]*")


def identity_fault(text: str) -> str | None:
    """Why a text is no identity, in Linkerd's words; ``None`` for a SPIFFE ID or a DNS-like name, ``*`` in front or not."""
    if not text.startswith(_SPIFFE):
        if re.fullmatch(DNS_LIKE.strip("^$"), text):
            return None
        return f"identity must be a valid SPIFFE id or a DNS SAN, matching the regex: {DNS_LIKE}"
    domain, *segments = text.removeprefix(_SPIFFE).split("/")
    if not domain:
        return "SPIFFE trust domain is missing"
    if not _TRUST_DOMAIN.fullmatch(domain):
        return "SPIFFE trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
    return _path_fault(segments)


def _path_fault(segments: list[str]) -> str | None:
    """The first fault from the left: a segment is judged at its end."""
    for number, segment in enumerate(segments, 1):
        if not _SEGMENT.fullmatch(segment):
            return "SPIFFE path segment characters are limited to letters, numbers, dots, dashes, and underscores"
        if segment in {".", ".."}:
            return "SPIFFE path cannot contain dot segments"
        if not segment:
            last = number == len(segments)
            return "SPIFFE path cannot have a trailing slash" if last else "SPIFFE path cannot contain empty segments"
    return None
