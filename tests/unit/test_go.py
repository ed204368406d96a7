"""Durations and regular expressions as Go reads them: ``time.ParseDuration`` and ``regexp.Compile`` of Go 1.26 said so."""

from __future__ import annotations

from decimal import Decimal

import pytest

from meshbdd.lab.compile.values import duration
from meshbdd.lab.go import regex_found, regex_problem, seconds

NANOSECONDS = {
    "-5s": -5_000_000_000, "+5s": 5_000_000_000, "0": 0, "+0": 0, "-0": 0, "0s": 0, "1.s": 1_000_000_000,
    ".5s": 500_000_000, "1.5h30m": 7_200_000_000_000, "1µs": 1_000, "1μs": 1_000, "0.0000000019s": 1,
    "1.9ns1.9ns": 2, "00005s": 5_000_000_000, "2562047h47m16.854775807s": 2**63 - 1,
    "-2562047h47m16.854775808s": -(2**63),
}  # fmt: skip
NO_DURATIONS = [
    "99999999h", "2562047h47m16.854775808s", "9223372036854775808ns", "", "5", "s", ".s", "1,5s", "5 s", " 5s", "5s\n", "1e3s",
    "٣s", "1h-5m", "+-5s", "--5s", "3d", "1..5s", "soon",
]  # fmt: skip
EXPRESSIONS = [
    r"\\C", "(?:(?:a{20}){20}){2}", r"\pL+", r"\z", r"\Qa.b\E", "(?<n>a)", "(?P<n>a)(?P<n>b)", "(?i:x)", "[[:word:]]",
    r"\p{Greek}", "a{,5}", "(?U)a", r"\Qa", r"\x{41}", "a|b*", r"\bx\B", "(?m)^a$", "[]a]", r"\123", r"\pN\PN",
]  # fmt: skip
NO_EXPRESSIONS = [
    "(?=x)y", r"(a)\1", "a++", "(?>a)", r"\Z", "a{1001}", r"\C", r"[\C]", "[a-", "a**", "(a{1000}){1000}", "\\", "(?#c)", "*",
    r"\G", r"\h", r"\R", r"\N", r"\x", "(?P=n)", "(?'n'a)", r"\k<n>", r"[a-\d]", "[z-a]", "(a", "a)", r"\8",
]  # fmt: skip


@pytest.mark.parametrize(("text", "nanoseconds"), NANOSECONDS.items())
def test_a_duration_is_read_as_go_reads_it(text: str, nanoseconds: int) -> None:
    assert seconds(text) == Decimal(nanoseconds).scaleb(-9)


@pytest.mark.parametrize("text", NO_DURATIONS)
def test_what_is_no_duration_to_go_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        seconds(text)


def test_thousands_of_digits_are_read_as_well() -> None:
    assert seconds("0" * 5000 + "7s") == 7
    with pytest.raises(ValueError, match="invalid duration"):
        seconds("9" * 5000 + "s")


@pytest.mark.parametrize(
    ("text", "written"),
    [("+5s", "5s"), ("-5s", "-5s"), ("-1500ms", "-1.500s"), ("1ns", "0.000000001s"), ("0", "0s"), ("1h30m", "5400s")],
)
def test_a_duration_is_written_as_protobuf_has_it(text: str, written: str) -> None:
    assert duration(text) == written


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_of_go_is_one(text: str) -> None:
    assert regex_problem(text) is None


@pytest.mark.parametrize("text", NO_EXPRESSIONS)
def test_what_go_does_not_compile_is_told(text: str) -> None:
    assert regex_problem(text)


def test_the_end_of_a_text_is_its_end_and_not_before_a_last_line_feed() -> None:
    assert regex_found("^5s$", "5s")
    assert not regex_found("^5s$", "5s\n")
