"""How a race may spend its budget of time."""

from __future__ import annotations

WARMUP_SHARE = 0.5
"""Of the budget: slow calls are warm after few of them, and their rounds are dear."""
OVERDRAFT = 8
"""Budgets that the first look may cost: without one, slow calls would have no verdict at all."""
