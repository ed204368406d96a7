"""Write the page of the steps: ``python -m tests.vocabulary docs/steps.md``."""

from __future__ import annotations

import sys
from pathlib import Path

import meshbdd.steps

from tests.vocabulary.page import page

assert meshbdd.steps
Path(sys.argv[1]).write_text(page(), "utf-8")
