"""Execution: processes that measure, and the loop over the blocks of a suite."""
