"""Reviews that are answered and not kept: what may I do, who am I; and tokens."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from meshbdd.lab.api.calls import now
from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.http import User

READING = ("get", "list", "watch")


def _access(body: Object, user: User) -> Object:
    spec = body.get("spec") or {}
    asked = spec.get("resourceAttributes") or spec.get("nonResourceAttributes") or {}
    allowed = not user.reads_only or asked.get("verb") in READING
    return {"spec": spec, "status": {"allowed": allowed}}


def _rules(_body: Object, user: User) -> Object:
    verbs = list(READING) if user.reads_only else ["*"]
    return {
        "spec": {},
        "status": {
            "resourceRules": [{"verbs": verbs, "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["get"] if user.reads_only else ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        },
    }


def _subject(_body: Object, user: User) -> Object:
    return {"status": {"userInfo": {"username": user.name, "groups": list(user.groups)}}}


_ANSWERS = {
    "SelfSubjectAccessReview": _access,
    "SelfSubjectRulesReview": _rules,
    "SelfSubjectReview": _subject,
}


def review(kind: str, api_version: str, body: Object, user: User) -> Object:
    """The review with its answer in the status."""
    told = {"kind": kind, "apiVersion": api_version, "metadata": {"creationTimestamp": None}}
    return {**told, **_ANSWERS[kind](body, user)}


def token(account: str, namespace: str, body: Object) -> Object:
    """The answer to a TokenRequest: a token that opens nothing here, as service accounts have no rights."""
    seconds = (body.get("spec") or {}).get("expirationSeconds") or 3600
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": account, "namespace": namespace, "creationTimestamp": now()},
        "spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": seconds},
        "status": {"token": secrets.token_urlsafe(32), "expirationTimestamp": until},
    }
