"""Regular expressions of routes: what Rust's ``regex`` takes, and what of that Envoy can play.

linkerd2 policy-controller/k8s/index/src/routes/http.rs reads them with Rust's crate, as linkerd-proxy does; Envoy has RE2. The
two are close: neither looks around or back. What they have not in common is told apart here; RE2 itself decides the rest.
The syntax of Rust's: https://docs.rs/regex/latest/regex/#syntax
"""

from __future__ import annotations

import re

from meshbdd.lab.go import regex_problem
from meshbdd.lab.linkerd.values import Unreadable

_ESCAPE = re.compile(r"\\([pPxuUbB]\{[^}]*\}|[pP].|.)", re.DOTALL)
_LETTERS = frozenset("aftnrvAzbBdDsSwWpPxuU")
_GROUP = re.compile(r"\(\?(?P<look><?[=!])?(?P<flags>[a-zA-Z-]*)(?P<end>[:)<]?)")
_NAMED, _NAME = ("", "P"), re.compile(r"[^\W\d]\w*>")
_SHARED_FLAGS, _FLAGS = frozenset("imsU-"), frozenset("imsU-uxR")
_COUNT = re.compile(r"\{(\s*)(\d+)(\s*)(?:,(\s*)(\d*)(\s*))?\}")
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")
_CLASS_START = re.compile(r"\[\^?-*\]?")
_SET_OPERATORS = frozenset({"&&", "--", "~~"})
_SHARED_FAULTS = {
    "missing ]": "unclosed character class",
    "no argument for repetition operator": "repetition operator missing expression",
    "invalid named capture group": "invalid capture group character",
    "invalid character class range": "invalid character class range, the start must be <= the end",
}
"""RE2's words and Rust's for what both refuse."""


class _Scan:
    """One walk over an expression, which notes what is foreign to RE2.

    Raises:
        Unreadable: Rust refuses it, in its words.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.foreign: list[str] = []
        self._open: list[int] = []
        at = 0
        while at < len(text):
            at = self._step(at)
        if self._open:
            self._refuse(self._open[-1], 1, "unclosed group")

    def _refuse(self, at: int, length: int, why: str) -> None:
        raise Unreadable(f"regex parse error:\n    {self._text}\n    {' ' * at}{'^' * length}\nerror: {why}")

    def _step(self, at: int) -> int:
        letter = self._text[at]
        if letter == "\\":
            return self._escape(at)
        if letter == "[":
            return self._class(at)
        if letter == "(":
            return self._group(at)
        if letter == "{":
            return self._count(at)
        if letter == ")":
            if not self._open:
                self._refuse(at, 1, "unopened group")
            self._open.pop()
        return at + 1

    def _escape(self, at: int) -> int:
        found = _ESCAPE.match(self._text, at)
        if found is None:
            self._refuse(at, 1, "incomplete escape sequence, reached end of pattern prematurely")
            return at + 1
        said = found.group(1)
        if said[0].isdigit():
            self._refuse(at, 2, "backreferences are not supported")
        if (said[0].isalnum() and said[0] not in _LETTERS) or not said[0].isascii():
            self._refuse(at, 2, "unrecognized escape sequence")
        if said[0] in "<>uU" or said[:2] in {"b{", "B{"}:
            self.foreign.append(found.group())
        return found.end()

    def _class(self, at: int) -> int:
        """A class in brackets; one within it, and sets of sets, are Rust's alone."""
        text, begun, deep = self._text, at, 1
        opening = _CLASS_START.match(text, at)
        at = opening.end() if opening else at + 1
        while at < len(text):
            posix = _POSIX.match(text, at)
            if posix:
                at = posix.end()
            elif text[at] == "\\":
                at = self._escape(at)
            elif text[at] == "[" or text[at : at + 2] in _SET_OPERATORS:
                self.foreign.append(text[at : at + 2])
                deep += text[at] == "["
                at += 1 if text[at] == "[" else 2
            elif text[at] == "]":
                deep, at = deep - 1, at + 1
                if not deep:
                    return at
            else:
                at += 1
        self._refuse(begun, 1, "unclosed character class")
        return at

    def _group(self, at: int) -> int:
        found = _GROUP.match(self._text, at)
        if found is None:
            self._open.append(at)
            return at + 1
        if found["look"]:
            length = found.end("look") - at
            self._refuse(at, length, "look-around, including look-ahead and look-behind, is not supported")
        flags, end = found["flags"], found["end"]
        if end == "<" and flags in _NAMED:
            if not _NAME.match(self._text, found.end()):
                self._refuse(found.end(), 1, "invalid capture group character")
            self._open.append(at)
            return found.end()
        if end not in {":", ")"} or not set(flags) <= _FLAGS:
            self._refuse(found.start("flags"), 1, "unrecognized flag")
        if not set(flags) <= _SHARED_FLAGS:
            self.foreign.append(found.group())
        if end == ":":
            self._open.append(at)
        return found.end()

    def _count(self, at: int) -> int:
        found = _COUNT.match(self._text, at)
        if found is None:
            self._refuse(at, 1, "repetition quantifier expects a valid decimal")
            return at + 1
        least, most = int(found[2]), found[5]
        if most and least > int(most):
            self._refuse(at, len(found.group()), "invalid repetition count range, the start must be <= the end")
        if any(found[blank] for blank in (1, 3, 4, 6)):
            self.foreign.append(found.group())
        return found.end()


def read(text: str) -> str:
    """A regular expression that Rust takes.

    Raises:
        Unreadable: it takes it not, in its words.
    """
    scan = _Scan(text)
    problem = None if scan.foreign else regex_problem(text)
    if problem is not None:
        kind = problem.partition(": ")[0]
        # RE2 says the same of names of Unicode's that it does not know.
        if kind in _SHARED_FAULTS and "\\p" not in problem.lower():
            raise Unreadable(f"regex parse error:\n    {text}\nerror: {_SHARED_FAULTS[kind]}")
    return text


def unplayable(text: str) -> str | None:
    """Why Envoy cannot play an expression that Rust takes, or would take it for another one; ``None``: it can.

    Raises:
        Unreadable: Rust does not take it either.
    """
    scan = _Scan(read(text))
    if scan.foreign:
        return f"{scan.foreign[0]} is Rust's alone"
    return regex_problem(text)
