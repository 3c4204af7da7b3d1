"""Layers that read a sequence step by step: O(L) sequential operations, beside attention's O(1)."""

from variants.recurrent.attention import BilstmAttention
from variants.recurrent.bilstm import Bilstm, Lstm
from variants.recurrent.channels import BilstmChannels

__all__ = ["Bilstm", "BilstmAttention", "BilstmChannels", "Lstm"]
