"""The options that a step takes from the table below it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace

from behave.model import Table

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Scope, ServiceRef, Side
from meshbdd.units import Duration, Percent
from meshbdd.vocabulary import read_count, read_duration, read_status

_UNAVAILABLE = 503
"""What a failure is where nobody says more."""
_SCOPE = ("called by", "method", "path", "header ", "inject at")


def read_options(table: Table | None, known: tuple[str, ...]) -> dict[str, str]:
    """The options in a step's two-column table; behave takes its first row for headings, it counts all the same.

    Args:
        table: The step's table; ``None`` for none.
        known: Options that the step takes; one that ends in a blank takes a name, like ``"header "``.

    Raises:
        BadInput: not two columns, an option that the step does not take, one without a value, or one that stands twice.
    """
    if table is None:
        return {}
    rows = [list(table.headings), *(list(row.cells) for row in table.rows)]
    options: dict[str, str] = {}
    for cells in rows:
        if len(cells) != 2:
            raise BadInput("MB0110", f"The options have {len(cells)} columns.", help="write two: | option | value |")
        name, value = cells[0].strip(), cells[1].strip()
        if name not in known and not any(name.startswith(k) and len(name) > len(k) for k in known if k.endswith(" ")):
            shown = [k + ("NAME" if k.endswith(" ") else "") for k in known]
            near = [shown[known.index(k)] for k in difflib.get_close_matches(name, known, 1)]
            raise BadInput(
                "MB0111",
                f"'{name}' is no option of this step.",
                help=f"did you mean '{near[0]}'?" if near else f"it takes: {', '.join(shown)}",
            )
        if not value:
            raise BadInput("MB0125", f"The option '{name}' says nothing.", help="write its value, or take it out")
        if any(name == other or _header(name) == _header(other) != "" for other in options):
            raise BadInput("MB0112", f"The option '{name}' stands twice.", help="keep one of the two")
        options[name] = value
    return options


def _header(option: str) -> str:
    """The header that an option is about, as HTTP compares names (RFC 9110, 5.1); empty where it is about none."""
    return option.removeprefix("header ").lower() if option.startswith("header ") else ""


def count_option(options: Mapping[str, str], name: str) -> int | None:
    """An option that is a whole number from 1; ``None`` where it does not stand.

    Raises:
        BadInput: it is none.
    """
    return read_count(options[name]) if name in options else None


def table_rows(table: Table | None) -> dict[str, str]:
    """The rows of a table that look like options, before anybody has checked them."""
    rows = [] if table is None else [list(table.headings), *(list(row.cells) for row in table.rows)]
    return {cells[0].strip(): cells[1].strip() for cells in rows if len(cells) == 2}


def _side(options: Mapping[str, str]) -> Side | None:
    """The option ``inject at``: ``caller`` or ``server``; ``None`` where it does not stand.

    Raises:
        BadInput: another word.
    """
    word = options.get("inject at")
    if word is None:
        return None
    if word not in set(Side):
        raise BadInput("MB0116", f"'{word}' is no place for a fault.", help="write caller or server")
    return Side(word)


def duration_option(options: Mapping[str, str], name: str) -> Duration | None:
    """An option that is a duration; ``None`` where it does not stand.

    Raises:
        BadInput: it is none.
    """
    return read_duration(options[name]) if name in options else None


def percent_option(options: Mapping[str, str], name: str) -> Percent | None:
    """An option that is a share; ``None`` where it does not stand.

    Raises:
        BadInput: it is none.
    """
    return Percent.parse(options[name]) if name in options else None


def fault_with_options(table: Table | None, fault: Fault, service: Callable[[str], ServiceRef]) -> Fault:
    """A fault with what its step's table says: which calls it is for, where it is injected, and with which status it fails.

    Args:
        table: The step's table; ``None`` for none.
        fault: What the step itself says. Where it leaves the status of a failure open, the table may say it.
        service: Reads a service as the tester names it.

    Raises:
        BadInput: an option that the step does not take, or a value that is none.
    """
    is_open = fault.status is None and fault.grpc_status is None and fault.delay is None
    options = read_options(table, ("status", *_SCOPE) if is_open else _SCOPE)
    caller = options.get("called by")
    headers = {name.removeprefix("header "): value for name, value in options.items() if name.startswith("header ")}
    scope = Scope(service(caller) if caller else None, options.get("method"), options.get("path"), headers)
    if is_open:
        fault = replace(fault, status=read_status(options["status"]) if "status" in options else _UNAVAILABLE)
    return replace(fault, scope=scope, at=_side(options))
