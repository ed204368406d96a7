"""Traffic: a request as a tester writes it, a vantage point to send it from, and a sample for each request sent."""

from meshbdd.load.message import Message, read_message
from meshbdd.load.sample import Sample
from meshbdd.load.sender import Vantage, send

__all__ = ["Message", "Sample", "Vantage", "read_message", "send"]
