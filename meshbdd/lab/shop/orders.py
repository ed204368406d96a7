"""The orders database: SQLite, one for a lab, shared by both versions of order-service."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path


class Orders:
    """Orders on disk; safe with several processes.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, sku TEXT, quantity INTEGER)")

    def create(self, sku: str, quantity: int) -> str:
        """Keep an order and give its id."""
        order_id = str(uuid.uuid4())
        self._connection.execute("INSERT INTO orders VALUES (?, ?, ?)", (order_id, sku, quantity))
        return order_id

    def count(self) -> int:
        """How many orders there are."""
        return int(self._connection.execute("SELECT COUNT(*) FROM orders").fetchone()[0])
