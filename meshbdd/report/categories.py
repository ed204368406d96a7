"""The report's categories, in the forms that the two versions of Allure read."""

from __future__ import annotations

from typing import Any

from allure_commons.model2 import Status

from meshbdd.report.outcome import Category


def for_allure_2() -> list[dict[str, Any]]:
    """``categories.json`` of the results folder. Its expressions must match a whole message."""
    return [
        {
            "name": category.value,
            "matchedStatuses": [_status(category)],
            **({"messageRegex": f"(?s){category.prefix}.*"} if category.prefix else {}),
        }
        for category in Category
    ]


def for_allure_3() -> list[dict[str, Any]]:
    """The ``categories`` of Allure 3's configuration. Its expressions search."""
    return [
        {
            "name": category.value,
            "matchers": {
                "statuses": [_status(category)],
                **({"message": f"^{category.prefix}"} if category.prefix else {}),
            },
            "groupByMessage": False,
        }
        for category in Category
    ]


def _status(category: Category) -> str:
    return str(Status.FAILED if category is Category.PRODUCT else Status.BROKEN)
