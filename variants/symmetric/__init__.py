"""Attention where q = k: one triangle of score blocks serves both halves."""

from variants.symmetric.variant import Symmetric

__all__ = ["Symmetric"]
