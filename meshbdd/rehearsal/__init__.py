"""Rehearsing feature files: every step runs for real, on a cluster that is a dictionary and with nobody to talk to.

What a step would refuse at run time it refuses here too, in the same words, because it is the same code. What only a
running mesh can tell (answers, logs, arrival) is left open.
"""

from meshbdd.rehearsal.applied import manifests_of
from meshbdd.rehearsal.features import first_refusal, rehearse
from meshbdd.rehearsal.report import Report

__all__ = ["Report", "first_refusal", "manifests_of", "rehearse"]
