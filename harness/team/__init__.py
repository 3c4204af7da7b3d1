"""Processes that compute one attention together, each on rows of its own."""

from harness.team.link import Link
from harness.team.team import Team, WorkerDiedError

__all__ = ["Link", "Team", "WorkerDiedError"]
