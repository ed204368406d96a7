"""Evidence for the reviewer: what a scenario tells becomes attachments of the step that runs, in the Allure report."""

import allure_commons
from allure_commons.types import AttachmentType

from meshbdd.evidence import Event
from meshbdd.report.attachments import Attachment, attachments

_LARGEST = 1024 * 1024
"""Reports with larger attachments get slow to open; both Allure versions keep them inside the page."""

_TYPES = {"text/plain": AttachmentType.TEXT, "text/csv": AttachmentType.CSV, "application/json": AttachmentType.JSON}


def tell(event: Event) -> None:
    """Show an event; nothing happens where no Allure formatter listens."""
    for attachment in attachments(event):
        _attach(attachment)


def _attach(attachment: Attachment) -> None:
    text = attachment.text
    body = text if len(text) <= _LARGEST else text[:_LARGEST] + "\n… cut at 1 MiB\n"
    kind = _TYPES[attachment.mime]
    allure_commons.plugin_manager.hook.attach_data(
        body=body, name=attachment.name, attachment_type=kind.mime_type, extension=kind.extension
    )
