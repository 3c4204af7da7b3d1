"""Image self-attention: pairwise and patchwise, Zhao, Jia and Koltun 2020, arXiv:2004.13621."""

from variants.san.layers import SanPairwise, SanPatchwise
from variants.san.network import SAN_DEPTHS, San

__all__ = ["SAN_DEPTHS", "San", "SanPairwise", "SanPatchwise"]
