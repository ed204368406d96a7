"""The page docs/settings.md: every setting with its default, and what the code says of it.

``python -m tests.vocabulary`` writes it with the page of the steps, and a test holds the page that is there to the code.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from meshbdd import settings
from meshbdd.settings import Settings

HEAD = """# Settings

Written by `make steps` from `meshbdd/settings.py`. A setting stands in pyproject.toml:

```toml
[tool.meshbdd]
gate_timeout = "30s"
```

or in the environment (`MESHBDD_GATE_TIMEOUT=30s`), or in the options of one run (`meshbdd run -D gate_timeout=30s`). Of several the one
that stands later in this sentence counts. `images` is a table, so it stands in pyproject.toml alone.

| Setting | Default | What it is |
| --- | --- | --- |
"""


def settings_page() -> str:
    """The whole page."""
    return HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    """A line of the table for each setting; the folder of the project is found, not set."""
    default = Settings()
    for name, told in _told():
        if name != "project":
            value = getattr(default, name)
            shown = f"`{value}`" if value else "–"
            yield f"| `{name}` | {shown} | {told.replace('``None``', 'not set').replace('``', '`').replace('|', chr(92) + '|')} |"


def _told() -> Iterator[tuple[str, str]]:
    """Each field, and the text below it."""
    [made] = ast.parse(inspect.getsource(settings.Settings)).body
    assert isinstance(made, ast.ClassDef)
    for field, below in zip(made.body, made.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(below, ast.Expr), field.target.id
            assert isinstance(below.value, ast.Constant), field.target.id
            yield field.target.id, " ".join(str(below.value.value).split())
