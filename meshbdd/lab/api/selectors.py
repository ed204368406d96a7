"""Label and field selectors: text to a predicate over objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from meshbdd.lab.api.errors import Object, bad_request
from meshbdd.lab.api.registry import Resource

Predicate = Callable[[Object], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|[^\s=!,()]+)")


def everything(_: Object) -> bool:
    """The predicate of no selector."""
    return True


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens: list[str] = _TOKEN.findall(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def name(self, expected: str = "identifier") -> str:
        token = self.take()
        if not token or token in {"=", "==", "!=", "!", ",", "(", ")"}:
            raise bad_request(f"unable to parse requirement: found '{token}', expected: {expected}")
        return token


LabelTest = Callable[[Mapping[str, str]], bool]


def _values(reader: _Reader) -> set[str]:
    if reader.take() != "(":
        raise bad_request(f"unable to parse requirement: found '{reader.peek()}', expected: '('")
    found: set[str] = set()
    while (value := reader.take()) != ")":
        if not value:
            raise bad_request("unable to parse requirement: found '', expected: ',' or ')'")
        if value != ",":
            found.add(value)
    return found


def _requirement(reader: _Reader) -> LabelTest:
    if reader.peek() == "!":
        reader.take()
        absent = reader.name()
        return lambda labels: absent not in labels
    key = reader.name()
    operator = reader.peek()
    if operator in {"", ","}:
        return lambda labels: key in labels
    reader.take()
    if operator in {"=", "=="}:
        wanted = "" if reader.peek() in {"", ","} else reader.name()
        return lambda labels: labels.get(key) == wanted
    if operator == "!=":
        other = "" if reader.peek() in {"", ","} else reader.name()
        return lambda labels: labels.get(key) != other
    if operator == "in":
        allowed = _values(reader)
        return lambda labels: labels.get(key) in allowed
    if operator == "notin":
        barred = _values(reader)
        return lambda labels: labels.get(key) not in barred
    raise bad_request(f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt")


def label_tests(text: str) -> list[LabelTest]:
    """The requirements of a label selector (``a=b,c in (d,e),!f``).

    Raises:
        ApiError: 400, when the text is no selector.
    """
    reader = _Reader(text)
    tests: list[LabelTest] = []
    while reader.peek():
        tests.append(_requirement(reader))
        if reader.peek() and reader.take() != ",":
            raise bad_request(
                f"unable to parse requirement: found '{reader.tokens[reader.at - 1]}', expected: ',' or 'end of string'"
            )
    return tests


def by_labels(text: str) -> Predicate:
    """A predicate over objects by their labels."""
    tests = label_tests(text)

    def fits(obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return fits


def matches_selector(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a ``LabelSelector`` (matchLabels, matchExpressions) selects these labels; ``None`` selects none."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        key, operator, values = rule["key"], rule["operator"], rule.get("values") or []
        held = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(operator, False)
        if not held:
            return False
    return True


def _field(obj: Object, path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def by_fields(text: str, resource: Resource) -> Predicate:
    """A predicate by fields; only those that Kubernetes indexes for the resource.

    Raises:
        ApiError: 400, when the text is no selector or the field is not selectable.
    """
    terms: list[tuple[str, bool, str]] = []
    for term in filter(None, text.split(",")):
        split = re.match(r"(.*?)(!=|==|=)(.*)", term)
        if not split:
            raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        path, operator, value = split.groups()
        allowed = {"metadata.name", *(["metadata.namespace"] if resource.namespaced else []), *resource.field_labels}
        if path not in allowed:
            raise bad_request(
                f"field label not supported: {path}"
                if resource.custom
                else f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
            )
        terms.append((path, operator != "!=", value))
    return lambda obj: all((_field(obj, path) == value) is equal for path, equal, value in terms)


def selected(resource: Resource, labels: str | None, fields: str | None) -> Predicate:
    """Both selectors together; ``None`` and ``""`` select everything."""
    tests = []
    if labels:
        tests.append(by_labels(labels))
    if fields:
        tests.append(by_fields(fields, resource))
    if not tests:
        return everything
    return lambda obj: all(test(obj) for test in tests)
