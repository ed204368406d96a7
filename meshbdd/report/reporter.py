"""Allure's reporter, with a folder of its own.

allure-commons hands every result to every plugin of the process, so that two Allure formatters in one run would write
each other's results. This one writes only what it is told, into its own folder, and never raises for it.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from threading import Thread
from typing import Any, ClassVar

from allure_commons.model2 import Attachment, GlobalAttachment, GlobalError, Globals, TestResult
from allure_commons.reporter import AllureReporter, ThreadContextItems
from allure_commons.utils import now, uuid4

from meshbdd.report.results import ResultsFolder


class Reporter(AllureReporter):  # type: ignore[misc] # allure-commons has no types
    """Writes into one folder of results.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: ResultsFolder) -> None:
        super().__init__()
        self.folder = folder

        class Items(ThreadContextItems):  # type: ignore[misc]
            # The base class shares this between all reporters of the process.
            _thread_context: ClassVar[defaultdict[Thread, OrderedDict[str, Any]]] = defaultdict(OrderedDict)

        self._items = Items()

    def stop_group(self, uuid: str, **fields: Any) -> None:
        """A set of fixtures is over."""
        self._update_item(uuid, **fields)
        self.folder.write_item(f"{uuid}-container.json", self._items.pop(uuid))

    def write_test(self, test: TestResult) -> None:
        """Write a result as it stands; the same scenario's next one takes its place."""
        self.folder.write_item(f"{test.uuid}-result.json", test)

    def close_test(self, uuid: str) -> None:
        """A scenario is over."""
        test = self._items.pop(uuid)
        self._items.cleanup()
        self.write_test(test)

    @property
    def last_executable(self) -> Any:
        """The step, or else the scenario, that attachments belong to now; ``None`` outside of both."""
        uuid = self._last_executable()
        return self._items.get(uuid) if uuid else None

    def attach_data(
        self, uuid: str, body: bytes | str, name: str | None = None, attachment_type: Any = None,
        extension: str | None = None, parent_uuid: str | None = None,
    ) -> None:  # fmt: skip
        """Attach to what runs now; to the whole run where nothing does."""
        if self._last_executable() is None:
            self.global_attach_data(uuid, body, name, attachment_type, extension)
            return
        source = self._attach(uuid, name, attachment_type, extension, parent_uuid)
        self.folder.write(source, body)

    def attach_to(self, item: Any, body: bytes | str, name: str, mime: str, extension: str) -> None:
        """Attach to a step or scenario, also to one that is over already."""
        source = f"{uuid4()}-attachment.{extension}"
        item.attachments.append(Attachment(name=name, source=source, type=mime))
        self.folder.write(source, body)

    def attach_file(
        self, uuid: str, source: str, name: str | None = None, attachment_type: Any = None,
        extension: str | None = None, parent_uuid: str | None = None,
    ) -> None:  # fmt: skip
        """Attach a copy of a file."""
        if self._last_executable() is None:
            self.global_attach_file(uuid, source, name, attachment_type, extension)
            return
        self.folder.copy(source, self._attach(uuid, name, attachment_type, extension, parent_uuid))

    def global_attach_data(
        self, uuid: str, body: bytes | str, name: str | None = None, attachment_type: Any = None,
        extension: str | None = None,
    ) -> None:  # fmt: skip
        """Attach to the whole run."""
        source = self._global(uuid, name, attachment_type, extension)
        self.folder.write(source, body)

    def global_attach_file(
        self, uuid: str, source: str, name: str | None = None, attachment_type: Any = None,
        extension: str | None = None,
    ) -> None:  # fmt: skip
        """Attach a copy of a file to the whole run."""
        self.folder.copy(source, self._global(uuid, name, attachment_type, extension))

    def _global(self, uuid: str, name: str | None, attachment_type: Any, extension: str | None) -> str:
        ending = extension or getattr(attachment_type, "extension", None) or "attach"
        mime = getattr(attachment_type, "mime_type", attachment_type)
        source = f"{uuid}-attachment.{ending}"
        item = GlobalAttachment(name=name, source=source, type=mime, timestamp=now())
        self.folder.write_item(f"{uuid4()}-globals.json", Globals(attachments=[item]))
        return source

    def global_error(self, message: str | None = None, trace: str | None = None) -> None:
        """Something went wrong outside of any scenario."""
        item = GlobalError(message=message, trace=trace, timestamp=now())
        self.folder.write_item(f"{uuid4()}-globals.json", Globals(errors=[item]))
