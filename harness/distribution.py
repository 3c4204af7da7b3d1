"""How q and k are drawn: how far the scores spread, and in how many dimensions they lie."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from harness.errors import WorkloadError

_FORM = re.compile(r"(?P<name>[a-z_]+)\((?P<arguments>[^()]*)\)")
_GRAMMAR = (
    "normal(s) with the standard deviation of the scores, as in normal(2), or low_rank(r, s) with "
    "the rank of q and k before it, as in low_rank(8, 2)"
)


@dataclass(frozen=True)
class InputSpec:
    """Inputs as they are written in a suite: `normal(2)`, `low_rank(8, 2)`.

    logit_std: standard deviation of the scores. rank: dimensions that q and k span, None for all.
    """

    logit_std: float
    rank: int | None = None

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """Read the text of `inputs`; raises WorkloadError saying what to write."""
        match = _FORM.fullmatch(text.replace(" ", ""))
        given = match["arguments"].split(",") if match else []
        try:
            if match and match["name"] == "normal" and len(given) == 1:
                return cls(_spread(given[0]))
            if match and match["name"] == "low_rank" and len(given) == 2:
                return cls(_spread(given[1]), _rank(given[0]))
        except ValueError:
            pass
        # Within [ ] a comma of YAML parts the arguments, and half of them arrives here.
        torn = text.count("(") != text.count(")")
        quoted = '; within [ ] put it in quotes, as in ["low_rank(8, 2)"]' if torn else ""
        raise WorkloadError(f"inputs: cannot read {text!r}; write {_GRAMMAR}{quoted}")

    def __str__(self) -> str:
        spread = repr(self.logit_std).removesuffix(".0")  # every digit: it reads back equal
        return f"normal({spread})" if self.rank is None else f"low_rank({self.rank}, {spread})"


def _spread(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError("a standard deviation is above 0")
    return value


def _rank(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("a rank is at least 1")
    return value
