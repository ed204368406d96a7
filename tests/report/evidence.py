"""A scenario's evidence of every kind, without a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from allure_commons import model2

from meshbdd.evidence import (
    Call,
    CallsLogged,
    ChangeArrived,
    ChangeWithdrawn,
    Event,
    FaultAccounted,
    QueryAnswered,
    TrafficSent,
    VerdictReached,
)
from meshbdd.load.message import Message
from meshbdd.load.sample import Sample
from meshbdd.report.reporter import Reporter
from meshbdd.report.results import ResultsFolder
from meshbdd.report.scene import Scene

REQUEST = Message(
    "checkout", "POST", "http://order-service/checkout", {"Authorization": "Bearer hunter2hunter2"}, '{"pin": "1234"}'
)

DIFFERENCE = """--- a
+++ b
+ fault: {}
+ match:
+ - headers:
+     authorization:
+       exact: hunter2
"""


def told(fail_every: int = 2) -> list[Event]:
    samples = [
        Sample(f"id-{i}", 1000 + i / 100, 0.02, 503 if i % fail_every == 0 else 200, headers={"set-cookie": "hunter2"}, body=b'{"token": "hunter2"}')
        for i in range(40)
    ]  # fmt: skip
    numbers = {
        "requests": 40,
        "hits": 20,
        "interval_95": [0.35, 0.65],
        "exact_interval_99": [0.3, 0.7],
        "accepted": [38, 40],
        "path": [[10, 5, 0], [20, 10, 0], [40, 20, 0]],
        "boundaries": [[10, 2, None, None, None], [20, 8, None, None, None], [40, 22, 39, 40, None]],
    }
    return [
        ChangeArrived("payment-service fails 100%", "at the callers' sidecars", (DIFFERENCE,), 999.0, 12.0,
                      {"order-service-1": 8.0, "client-1": 3.0}, "payment-service.shop", ("a finding",)),
        TrafficSent("checkout", "client", "order-service", samples, REQUEST),
        FaultAccounted("payment-service fails 100%", "payment-service.shop", 120, 120, ("FI",), {"order-service-1": (120, 120)}, 40, 40),
        QueryAnswered("sum(x) by (y)", (({"y": "1", "token": "hunter2"}, 2.0),)),
        VerdictReached("failed", "at least 95% of requests succeed: 20 of 40 did", numbers | {"actual": "password=hunter2"}, ("a note",)),
        ChangeWithdrawn("payment-service fails 100%", 1001.0),
        CallsLogged((Call("order-service", "payment-service", 503, ("FI",), True, 120),)),
    ]  # fmt: skip


class Shown:
    """The events, told by one step each, in a folder of results."""

    def __init__(self, folder: Path, events: list[Event], status: str = model2.Status.FAILED) -> None:
        self.folder = ResultsFolder(folder)
        self.folder.take()
        self.test = model2.TestResult(uuid="u", status=status, descriptionHtml="<p>What it is for.</p>")
        self.steps = [model2.TestStepResult(name=type(event).__name__) for event in events]
        self.scene = Scene()
        for event, step in zip(events, self.steps, strict=True):
            self.scene.add(event, step)
        self.scene.show(Reporter(self.folder), self.test, "meshbdd run features/x.feature:3")

    def named(self, item: Any) -> dict[str, str]:
        return {a.name: (self.folder.path / a.source).read_text() for a in item.attachments}

    def step(self, kind: type) -> dict[str, str]:
        return next(self.named(step) for step in self.steps if step.name == kind.__name__)
