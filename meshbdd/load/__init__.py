"""Traffic: a request as a tester writes it, a vantage point to send it from, and a sample for each request sent."""

from meshbdd.load.load import Load, Progress
from meshbdd.load.message import Message, read_message
from meshbdd.load.plan import Pace, Plan
from meshbdd.load.result import Result
from meshbdd.load.sample import Sample
from meshbdd.load.sender import send
from meshbdd.load.vantage import Entry, Vantage

__all__ = [
    "Entry",
    "Load",
    "Message",
    "Pace",
    "Plan",
    "Progress",
    "Result",
    "Sample",
    "Vantage",
    "read_message",
    "send",
]
