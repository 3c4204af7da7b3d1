"""The suites that ship with attnbench: one question each."""
