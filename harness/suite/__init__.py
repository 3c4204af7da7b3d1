"""Suites: a YAML file of sweeps becomes blocks of cases, and schedules to simulate.

    file -> document (values and lines)
         -> variants, sweeps, schedules, measure, claims -> Suite -> blocks

`where` and `settings` are what the command line changes on the way.
"""

from harness.suite.claim import Claim
from harness.suite.loading import find_suite, load_suite, shipped
from harness.suite.model import Block, Measure, Overrides, Suite
from harness.suite.schedules import ScheduleCase
from harness.suite.schema import schema

__all__ = [
    "Block",
    "Claim",
    "Measure",
    "Overrides",
    "ScheduleCase",
    "Suite",
    "find_suite",
    "load_suite",
    "schema",
    "shipped",
]
