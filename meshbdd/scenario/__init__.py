"""The parts of one scenario: its traffic, its changes, and the accounting that holds the two against each other."""

from meshbdd.scenario.accounting import Accounting
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.changes import Changes
from meshbdd.scenario.circuits import Circuits
from meshbdd.scenario.environment import Environment, StepText, mentions
from meshbdd.scenario.observations import Observations
from meshbdd.scenario.overhead import Overhead
from meshbdd.scenario.resilience import Resilience
from meshbdd.scenario.traffic import Traffic

__all__ = [
    "Accounting", "CallLog", "Changes", "Circuits", "Environment", "Observations", "Overhead", "Resilience",
    "StepText", "Traffic", "mentions",
]  # fmt: skip
