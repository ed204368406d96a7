"""YAML that ships with meshbdd: the demo shop, its clients, and the examples of the guide."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """A folder or file of this package, in a checkout and in an installed wheel alike."""
    return _HERE / name
