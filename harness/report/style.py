"""How a variant looks: the same colour, marker and line in every figure.

Colours are those of Okabe and Ito (2008), told apart under every common colour blindness;
their yellow is left out, being unreadable on white.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p", "d")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
INK = "#222222"
GRID = "#d8d8d8"


@dataclass(frozen=True)
class Look:
    """Colour, marker and line style of one variant."""

    colour: str
    marker: str
    dash: str | tuple[float, Sequence[float]]


def looks(variants: Iterable[str]) -> dict[str, Look]:
    """A look for each variant, by its place among all variants of the report.

    The colours (7) and the markers (13) run out at different places, so that no pair of them
    stands twice below 91 variants.
    """
    order = dict.fromkeys(variants)
    return {
        name: Look(
            COLOURS[at % len(COLOURS)],
            MARKERS[at % len(MARKERS)],
            DASHES[at // len(COLOURS) % len(DASHES)],
        )
        for at, name in enumerate(order)
    }
