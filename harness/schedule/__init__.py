"""Schedules of attention on a ring of processing elements: made, simulated, solved for."""
