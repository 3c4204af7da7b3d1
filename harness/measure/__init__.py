"""Measurements, one file a quantity."""
