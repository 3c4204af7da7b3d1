"""Schedules of attention on a ring of processing elements: made, simulated, solved for.

(n, m) -> GENERATORS[name] -> Schedule -> simulate -> Figures
                                       -> replay   -> out

`replay` is imported when first used, so that the command line starts without torch.
"""

from typing import TYPE_CHECKING, Any

from harness.schedule.generate import GENERATORS, SCORES, closed_form, register_bound
from harness.schedule.model import Item, Operation, Schedule, Scheme
from harness.schedule.simulate import Figures, simulate

if TYPE_CHECKING:
    from harness.schedule.replaying import replay

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


def __getattr__(name: str) -> Any:
    if name == "replay":
        from harness.schedule.replaying import replay

        return replay
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
