"""Polynomial attention: a power of the scores in place of softmax (arXiv:2410.18613)."""

from variants.polynomial.family import PolynomialFamily
from variants.polynomial.variant import Polynomial

__all__ = ["Polynomial", "PolynomialFamily"]
