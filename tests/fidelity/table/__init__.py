"""The table: every rule of the compiler that a client can see, by topic."""

from __future__ import annotations

from tests.fidelity.rows import Row
from tests.fidelity.table import faults, headers, limits, outliers, retries, routing, security

ROWS: tuple[Row, ...] = (
    *faults.ROWS,
    *retries.ROWS,
    *routing.ROWS,
    *limits.ROWS,
    *outliers.ROWS,
    *security.ROWS,
    *headers.ROWS,
)
