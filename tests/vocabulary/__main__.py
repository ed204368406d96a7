"""Write the pages of the steps and of the settings: ``python -m tests.vocabulary docs/steps.md docs/settings.md``."""

from __future__ import annotations

import sys
from pathlib import Path

import meshbdd.steps

from tests.vocabulary.page import page
from tests.vocabulary.settings_page import settings_page

assert meshbdd.steps
Path(sys.argv[1]).write_text(page(), "utf-8")
Path(sys.argv[2]).write_text(settings_page(), "utf-8")
