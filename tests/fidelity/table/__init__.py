"""The table: every rule of the compiler that a client can see, by topic."""

from __future__ import annotations

from tests.fidelity.rows import Row
from tests.fidelity.table import (
    authorization,
    faults,
    headers,
    limits,
    outliers,
    retries,
    routing,
    security,
    server_faults,
)

ROWS: tuple[Row, ...] = (
    *faults.ROWS,
    *server_faults.ROWS,
    *retries.ROWS,
    *routing.ROWS,
    *limits.ROWS,
    *outliers.ROWS,
    *security.ROWS,
    *authorization.ROWS,
    *headers.ROWS,
)
