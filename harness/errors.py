"""Every error that a user can cause.

    AttnbenchError
    ├── WorkloadError   a workload that makes no sense (heads, masks, sizes)
    ├── VariantError    an unknown variant or parameter, a file that registers nothing
    ├── SuiteError      a suite file: names file, line and field
    ├── OptionError     a command-line option or argument
    ├── RunError        a run folder: cannot be written, locked, another suite's
    └── ScheduleError   a schedule that cannot be made, or breaks a rule of its machine

A text says what is wrong, what was found, and what to write instead. The command line
prints the text alone and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AttnbenchError(Exception):
    """The root of the tree; its text is what the user reads."""


class WorkloadError(AttnbenchError, ValueError):
    """A workload that makes no sense."""


class VariantError(AttnbenchError):
    """A variant or one of its parameters is unknown, malformed or defined twice."""


class SuiteError(AttnbenchError):
    """A suite file is wrong somewhere; the text starts with `file:line: field:`."""


class OptionError(AttnbenchError):
    """A command-line option or argument is wrong."""


class RunError(AttnbenchError):
    """A run folder cannot be used."""


class ScheduleError(AttnbenchError, ValueError):
    """A schedule cannot be made, or breaks a rule; the text names element, cycle and operand."""


def suggest(name: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown name: the near ones first, else all of them."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    likeness = [difflib.SequenceMatcher(None, name, option).ratio() for option in near]
    # Beside one that is nearly the name, what is hardly like it only distracts.
    near = [one for one, like in zip(near, likeness, strict=True) if like >= 0.7 * likeness[0]]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"use one of {', '.join(options)}" if options else "there is none to choose from"
