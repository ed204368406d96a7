"""What a reviewer sees: results that agree with behave, and the evidence of each verdict."""

from __future__ import annotations

import allure_commons

from meshbdd.evidence import Event
from meshbdd.report import exits
from meshbdd.report.attachments import attachments
from meshbdd.report.formatter import MeshbddFormatter, expect, formatters, report_problem
from meshbdd.report.shown import shown

__all__ = ["MeshbddFormatter", "expect", "formatters", "report_problem", "tell"]

exits.watch()


def tell(event: Event) -> None:
    """Show an event; nothing happens where no Allure formatter listens.

    A stock Allure formatter gets the texts at once; what is drawn is drawn by meshbdd's own.
    """
    ours = [formatter.listener for formatter in formatters()]
    for formatter in formatters():
        formatter.tell(event)
    if set(allure_commons.plugin_manager.get_plugins()) <= set(ours):
        return
    attach = allure_commons.plugin_manager.subset_hook_caller("attach_data", remove_plugins=ours)
    for item in attachments(shown(event)):
        made = item.fitting
        attach(body=made.text, name=made.name, attachment_type=made.mime, extension=made.extension)
