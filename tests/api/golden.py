"""Replays recorded requests of a real API server (Kubernetes v1.32.13) and compares the answers by meaning.

The recordings name what differs from run to run (``<uid1>``, ``<rv3>``, ``<time>``): a name is bound to the value that
the server under test gives, and must stay bound to it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

DATA = Path(__file__).parent / "data"
_NAMED = re.compile(r"<(?:uid|rv|continue)\d+>")
_LOOSE = re.compile(r"<(?:time|age|rand|server|port|ptr|n)>")
_FORGIVING = {"fieldsV1", "managedFields"}


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text())


@dataclass
class Replay:
    """One recording against one server."""

    url: str
    token: str
    viewer: str
    session: requests.Session
    names: dict[str, str] = field(default_factory=dict)

    def bound(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.replace("<time>", "2026-01-01T00:00:00Z")
            return _NAMED.sub(lambda found: self.names.get(found.group(), found.group()), value)
        if isinstance(value, list):
            return [self.bound(item) for item in value]
        if isinstance(value, dict):
            return {key: self.bound(item) for key, item in value.items()}
        return value

    def send(self, case: dict[str, Any], *, stream: bool = False, timeout: float = 15) -> requests.Response:
        asked = case["request"]
        self._learn(asked)
        headers = {"User-Agent": "lab-client/1.0", "Accept": "", **asked["headers"]}
        if "accept" not in asked["headers"]:
            headers["Accept"] = "*/*"
        auth = case.get("auth") or asked.get("auth") or ""
        if "unknown" in auth:
            headers["Authorization"] = "Bearer nobody"
        elif "viewer" in auth:
            headers["Authorization"] = f"Bearer {self.viewer}"
        elif auth != "none":
            headers["Authorization"] = f"Bearer {self.token}"
        body = asked["body"]
        if body is not None and not isinstance(body, str):
            body = json.dumps(self.bound(body))
        elif isinstance(body, str):
            body = self.bound(body)
        query = self.bound(asked["query"])
        return self.session.request(
            asked["method"],
            self.url + self.bound(asked["path"]) + (f"?{query}" if query else ""),
            data=body.encode() if body is not None else None,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            stream=stream,
        )

    def _learn(self, asked: dict[str, Any]) -> None:
        """Bind names that a PUT uses before an answer told them (they were read between the recorded cases)."""
        metadata = asked["body"].get("metadata") if isinstance(asked["body"], dict) else None
        if asked["method"] != "PUT" or not isinstance(metadata, dict):
            return
        unknown = {
            k: metadata[k]
            for k in ("uid", "resourceVersion")
            if metadata.get(k, "")[:1] == "<" and metadata[k] not in self.names
        }
        stamped = metadata.get("deletionTimestamp") == "<time>"
        if unknown or stamped:
            path = asked["path"].removesuffix("/status")
            live = self.session.get(self.url + path, headers={"Authorization": f"Bearer {self.token}"}).json()[
                "metadata"
            ]
            self.names |= {name: live[k] for k, name in unknown.items()}
            if stamped and "deletionTimestamp" in live:
                metadata["deletionTimestamp"] = live["deletionTimestamp"]

    def differences(self, case: dict[str, Any], answer: requests.Response) -> list[str]:
        wanted = case["response"]
        found = []
        if answer.status_code != wanted["status"]:
            found.append(f"status {answer.status_code}, recorded {wanted['status']}: {answer.text[:300]}")
            return found
        if "headers" not in wanted:  # a write between the cases: only its outcome was recorded
            return found
        warning = wanted["headers"].get("warning")
        if warning:
            told = warning if isinstance(warning, str) else ", ".join(warning)
            if answer.headers.get("warning") != told:
                found.append(f"warning {answer.headers.get('warning')!r}, recorded {told!r}")
        elif "warning" in answer.headers:
            found.append(f"warning {answer.headers['warning']!r}, recorded none")
        body = wanted["body"]
        if isinstance(body, str):
            if "yaml" not in wanted["headers"].get("content-type", "") and answer.text != body:
                found.append(f"text {answer.text[:200]!r}, recorded {body[:200]!r}")
            return found
        return found + list(self.compare(answer.json(), body, ""))

    def compare(self, got: Any, wanted: Any, path: str) -> list[str]:
        if isinstance(wanted, dict) and isinstance(got, dict):
            found = []
            for key in sorted({*got, *wanted}):
                if key not in wanted:
                    found.append(f"{path}.{key}: {json.dumps(got[key])[:200]}, recorded none")
                elif key not in got:
                    found.append(f"{path}.{key}: absent, recorded {json.dumps(wanted[key])[:200]}")
                else:
                    found += self.compare(got[key], wanted[key], f"{path}.{key}")
            return found
        if isinstance(wanted, list) and isinstance(got, list):
            if path.endswith(".managedFields"):  # sorted by time first, and seconds may tick between two writes
                wanted = sorted(wanted, key=lambda e: (e["operation"], e["manager"], e.get("subresource", "")))
                got = sorted(got, key=lambda e: (e["operation"], e["manager"], e.get("subresource", "")))
            if path.endswith(".causes"):
                wanted = sorted(wanted, key=lambda c: json.dumps(c, sort_keys=True))
                got = sorted(got, key=lambda c: json.dumps(c, sort_keys=True))
            if len(got) != len(wanted):
                return [f"{path}: {json.dumps(got)[:300]}, recorded {json.dumps(wanted)[:300]}"]
            return [
                d for i, pair in enumerate(zip(got, wanted, strict=True)) for d in self.compare(*pair, f"{path}[{i}]")
            ]
        if isinstance(wanted, str) and isinstance(got, str):
            return self._compare_text(got, wanted, path)
        return [] if got == wanted else [f"{path}: {json.dumps(got)[:200]}, recorded {json.dumps(wanted)[:200]}"]

    def _compare_text(self, got: str, wanted: str, path: str) -> list[str]:
        named = _NAMED.fullmatch(wanted)
        if named:
            if wanted in self.names and self.names[wanted] != got:
                return [f"{path}: {got}, but {wanted} was {self.names[wanted]}"]
            taken = next(
                (
                    name
                    for name, value in self.names.items()
                    if value == got and name != wanted and name[:3] == wanted[:3]
                ),
                None,
            )
            if taken:
                return [f"{path}: {got} is {taken}, recorded {wanted}"]
            self.names[wanted] = got
            return []
        told = self.bound(wanted) if not _LOOSE.search(wanted) else wanted
        pattern = "".join(
            ".*" if _LOOSE.fullmatch(p) or _NAMED.fullmatch(p) else re.escape(p)
            for p in re.split(r"(<(?:time|age|rand|server|port|ptr|n)>|<(?:uid|rv|continue)\d+>)", told)
        )
        if path.endswith(".message") and re.fullmatch(r".* is invalid: \[.*\]", wanted):
            return []  # the causes say the same, in an order that varies
        return [] if re.fullmatch(pattern, got, re.DOTALL) else [f"{path}: {got[:400]!r}, recorded {wanted[:400]!r}"]
