"""Evidence for the reviewer: what is attached to a step in the Allure report."""

import allure_commons
from allure_commons.types import AttachmentType

_LARGEST = 1024 * 1024
"""Reports with larger attachments get slow to open; both Allure versions keep them inside the page."""

_TYPES = {"text/plain": AttachmentType.TEXT, "text/csv": AttachmentType.CSV, "application/json": AttachmentType.JSON}


def attach(name: str, text: str, mime: str) -> None:
    """Attach a piece of evidence to the step that runs; nothing happens where no Allure formatter listens."""
    body = text if len(text) <= _LARGEST else text[:_LARGEST] + "\n… cut at 1 MiB\n"
    kind = _TYPES[mime]
    allure_commons.plugin_manager.hook.attach_data(
        body=body, name=name, attachment_type=kind.mime_type, extension=kind.extension
    )
