"""Schedules of attention on a ring of processing elements: made, simulated, solved for.

(n, m) -> GENERATORS[name] -> Schedule -> simulate -> Figures
                                       -> replay   -> out
"""

from harness.schedule.generate import GENERATORS, SCORES, closed_form, register_bound
from harness.schedule.model import Item, Operation, Schedule, Scheme
from harness.schedule.replay import replay
from harness.schedule.simulate import Figures, simulate

__all__ = [
    "GENERATORS",
    "SCORES",
    "Figures",
    "Item",
    "Operation",
    "Schedule",
    "Scheme",
    "closed_form",
    "register_bound",
    "replay",
    "simulate",
]
