"""Attention by a schedule on real processes (a reconstruction of arXiv:2012.01114)."""

from variants.scheduled.variant import Scheduled, ScheduledPolynomial

__all__ = ["Scheduled", "ScheduledPolynomial"]
