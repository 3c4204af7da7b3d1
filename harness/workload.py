"""Workloads and cases: everything that is asked, frozen and validated once."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from harness.distribution import InputSpec
from harness.errors import WorkloadError
from harness.mask import Mask, MaskSpec

Pass = Literal["forward", "backward", "forward+backward", "decode"]
Dtype = Literal["float32", "bfloat16", "float16", "float64"]
Size = StrictInt
_USUAL_INPUTS = "normal(2)"
OF_IMAGES = ("height", "width", "channels", "footprint")
"""Fields that only layers of images have."""
_LATER = {"shared": "none"}
"""Fields that came later, by their default: left out at it, a case keeps its id."""


def usable_cpus() -> int:
    """CPUs this process may run on (its affinity, not the machine's count)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workload(BaseModel):
    """Everything but the variant: shapes, pass, mask, dtype, device, threads, inputs.

    Left out, kv_heads = heads, kv_len = q_len, v_head_dim = head_dim, scale = head_dim**-0.5,
    threads = all usable CPUs; under decode q_len = 1. `inputs: normal(s)` draws q and k so that
    the scores have standard deviation s, `low_rank(r, s)` draws them in r dimensions of head_dim.
    `shared: qk` gives q and k the same values, `qkv` v as well; they stay tensors of their own,
    each with a gradient of its own.
    Raises pydantic.ValidationError with one line a field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    level: Literal["op", "layer"] = "op"
    pass_: Pass = Field("forward", alias="pass")
    batch: Size = Field(1, ge=1)
    heads: Size = Field(1, ge=1)
    kv_heads: Size = Field(ge=1)
    q_len: Size = Field(ge=1)
    kv_len: Size = Field(ge=1)
    head_dim: Size = Field(64, ge=1)
    v_head_dim: Size = Field(ge=1)
    height: Size | None = Field(None, ge=1)
    width: Size | None = Field(None, ge=1)
    channels: Size | None = Field(None, ge=1)
    footprint: Size | None = Field(None, ge=1)
    mask: str = "none"
    bias: Literal["none", "alibi", "random"] = "none"
    shared: Literal["none", "qk", "qkv"] = "none"
    dtype: Dtype = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Size = Field(ge=1)
    compile: StrictBool = False
    scale: float = Field(gt=0)
    inputs: str = _USUAL_INPUTS
    seed: StrictInt = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        filled = {name: value for name, value in given.items() if value is not None}
        if filled.get("pass", filled.get("pass_")) == "decode":
            filled.setdefault("q_len", 1)
        if "mask" in filled:
            filled["mask"] = str(MaskSpec.parse(str(filled["mask"])))
        if "inputs" in filled:
            filled["inputs"] = str(InputSpec.parse(str(filled["inputs"])))
        filled.setdefault("threads", usable_cpus())
        if "channels" in filled:
            filled.setdefault(
                "head_dim", _size(filled["channels"]) // _size(filled.get("heads", 1))
            )
        if "height" in filled and "width" in filled:
            filled.setdefault("q_len", _size(filled["height"]) * _size(filled["width"]))
        filled.setdefault("head_dim", 64)
        derived = (("kv_heads", "heads"), ("kv_len", "q_len"), ("v_head_dim", "head_dim"))
        for name, source in derived:
            filled.setdefault(name, _size(filled.get(source)))
        filled.setdefault("scale", _size(filled["head_dim"]) ** -0.5)
        return filled

    @model_validator(mode="after")
    def _is_whole_image(self) -> Workload:
        image = (self.height, self.width, self.channels)
        if image == (None, None, None):
            if self.footprint is not None:
                raise WorkloadError(
                    f"footprint is of images: footprint={self.footprint}; "
                    "write height, width and channels too, or leave it out"
                )
            return self
        if self.level != "layer" or None in image:
            raise WorkloadError(
                f"an image needs level, height, width and channels: level={self.level}, "
                f"height={self.height}, width={self.width}, channels={self.channels}; "
                "write level: layer and all three"
            )
        if self.channels != self.model_dim:
            raise WorkloadError(
                f"channels must be heads * head_dim: channels={self.channels}, "
                f"heads={self.heads}, head_dim={self.head_dim}; write channels as a multiple of "
                "heads and leave head_dim out"
            )
        if self.q_len != self.height * self.width or self.kv_len != self.q_len:  # type: ignore[operator]
            raise WorkloadError(
                f"an image has height * width pixels: q_len={self.q_len}, kv_len={self.kv_len}; "
                "leave q_len and kv_len out"
            )
        if self.footprint is not None and self.footprint % 2 == 0:
            raise WorkloadError(
                f"a footprint has a middle: footprint={self.footprint}; write an odd number"
            )
        return self

    @model_validator(mode="after")
    def _can_share(self) -> Workload:
        fault = None if self.shared == "none" else self.unshareable(self.shared)
        if fault is not None:
            names = ", ".join(self.shared[:-1]) + f" and {self.shared[-1]}"
            raise WorkloadError(
                f"shared: {self.shared} gives {names} the same values, and so one shape: {fault}"
            )
        return self

    @model_validator(mode="after")
    def _agree(self) -> Workload:
        if self.heads % self.kv_heads:
            # An absurd number of heads must not make its own error slow.
            most = min(self.heads, 4096)
            divisors = [str(n) for n in range(1, most + 1) if self.heads % n == 0]
            raise WorkloadError(
                f"kv_heads must divide heads: heads={self.heads}, kv_heads={self.kv_heads}; "
                f"use {', '.join(divisors[:-1])}{' or ' if divisors[1:] else ''}{divisors[-1]}"
            )
        if self.pass_ == "decode" and self.q_len != 1:
            raise WorkloadError(
                f"decode takes one query: q_len={self.q_len}; leave q_len out and sweep kv_len"
            )
        packed = self.mask_spec.packed
        if packed is not None and (self.q_len != self.kv_len or packed > self.q_len):
            raise WorkloadError(
                f"packed({packed}) needs q_len = kv_len >= {packed}: q_len={self.q_len}, "
                f"kv_len={self.kv_len}; make both lengths equal and at least {packed}"
            )
        if self.logit_rank > self.head_dim:
            raise WorkloadError(
                f"inputs: a rank is at most head_dim: {self.inputs}, head_dim={self.head_dim}; "
                f"write {InputSpec(self.logit_std, self.head_dim)} or a smaller rank"
            )
        return self

    def unshareable(self, names: str) -> str | None:
        """Why q and k (`qk`), or q, k and v (`qkv`), cannot be the same here, and what to write."""
        queries = f"heads={self.heads}, kv_heads={self.kv_heads}"
        faults = (
            (self.level != "op", "level=layer, whose x stands for all of them; write level: op"),
            (self.pass_ == "decode", "pass=decode has one query; write another pass"),
            (self.heads != self.kv_heads, f"{queries}; leave kv_heads out"),
            (
                self.q_len != self.kv_len,
                f"q_len={self.q_len}, kv_len={self.kv_len}; leave kv_len out",
            ),
            (
                names == "qkv" and self.head_dim != self.v_head_dim,
                f"head_dim={self.head_dim}, v_head_dim={self.v_head_dim}; leave v_head_dim out or "
                "write shared: qk",
            ),
        )
        return next((text for broken, text in faults if broken), None)

    @property
    def model_dim(self) -> int:
        """Features of a layer's input and output: heads * head_dim, of images their channels."""
        return self.heads * self.head_dim

    @property
    def groups(self) -> int:
        """Query heads that share a head of keys."""
        return self.heads // self.kv_heads

    @property
    def carried(self) -> Workload:
        """What is called: of a layer the same on x as one head of all features, of an op itself."""
        if self.level == "op":
            return self
        one = {"heads": 1, "kv_heads": 1, "head_dim": self.model_dim, "v_head_dim": self.model_dim}
        plain = dict.fromkeys(OF_IMAGES)
        scale = self.model_dim**-0.5
        return self.model_copy(update={"scale": scale, **one, **plain})

    @property
    def attends_to_itself(self) -> bool:
        """True of a layer whose input stands for queries and keys alike."""
        return self.level == "layer" and self.q_len == self.kv_len

    @property
    def mask_spec(self) -> MaskSpec:
        """The mask's text, read."""
        return MaskSpec.parse(self.mask)

    @property
    def logit_std(self) -> float:
        """Standard deviation of the scores that the inputs are drawn for."""
        return InputSpec.parse(self.inputs).logit_std

    @property
    def logit_rank(self) -> int:
        """Dimensions that q and k span: head_dim, unless they are drawn in fewer."""
        return InputSpec.parse(self.inputs).rank or self.head_dim

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of q, k and v."""
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
            "float64": torch.float64,
        }[self.dtype]

    @property
    def has_gradients(self) -> bool:
        """True when the pass computes gradients."""
        return self.pass_ in ("backward", "forward+backward")

    def build_mask(self, device: torch.device | str | None = None) -> Mask:
        """The mask of this workload, with its bias, on `device` (its own when left out)."""
        return Mask(
            self.mask_spec,
            self.q_len,
            self.kv_len,
            batch=self.batch,
            heads=self.heads,
            bias=self.bias,
            seed=self.seed,
            device=self.device if device is None else device,
        )

    def flops(self) -> int:
        """Algorithmic FLOPs: those of the attended pairs, whatever a kernel really computes.

        The field's convention (FlashAttention's benchmarks): 2 (D + Dv) a pair forward, 2.5 times
        that backward, where a fused kernel computes the scores a second time.
        """
        return self.flops_of(self.build_mask("cpu").pairs())

    def flops_of(self, pairs: int, *, backward: float = 2.5) -> int:
        """FLOPs of the pass where a kernel computes this many (query, key) pairs.

        pairs: of all heads and sequences. backward: times the forward's; 2 where the weights were
        kept (four products, of a forward's two), 2.5 where the scores are computed again, taken for
        half of a forward.
        """
        return self.of_pass(2 * (self.head_dim + self.v_head_dim) * pairs, backward=backward)

    def of_pass(self, forward: int, *, backward: float = 2.0) -> int:
        """FLOPs of the pass where a forward takes so many and a backward `backward` times that.

        2 where all of it is products whose inputs were kept: each has two in the backward.
        """
        factors = {"backward": backward, "forward+backward": 1.0 + backward}
        return round(factors.get(self.pass_, 1.0) * forward)

    @property
    def sum_dtype(self) -> torch.dtype:
        """What sums are kept in where the case's own dtype is too narrow: float32 at least."""
        return torch.promote_types(self.torch_dtype, torch.float32)

    @property
    def all_pairs(self) -> int:
        """(query, key) pairs of all heads and sequences, masked or not."""
        return self.batch * self.heads * self.q_len * self.kv_len

    def compulsory_bytes(self) -> int:
        """Bytes that no kernel can do without: inputs read once, results written once.

        forward, decode: q, k, v, output. backward: q, k, v, output and its gradient, and the
        three gradients written (the output counts, as in FlashAttention, arXiv:2205.14135,
        algorithm 4). forward+backward: both. Keys that no query attends to, queries that attend
        to none and padded rows are not read; a bias is not counted.
        """
        mask = self.build_mask("cpu")
        repeated = self.batch // mask.start.shape[0]
        rows = self.heads * repeated * int(mask.judged.sum())
        queries = self.heads * repeated * int(((mask.stop > mask.start) & mask.judged).sum())
        keys = self.kv_heads * repeated * _attended_keys(mask)
        width = self.head_dim + self.v_head_dim
        read = queries * self.head_dim + keys * width
        forward = read + rows * self.v_head_dim
        gradients = rows * self.head_dim + self.batch * self.kv_heads * self.kv_len * width
        backward = read + 2 * queries * self.v_head_dim + gradients
        passes = {"backward": backward, "forward+backward": forward + backward}
        return passes.get(self.pass_, forward) * self.torch_dtype.itemsize

    def input_bytes(self) -> int:
        """Bytes of q, k and v."""
        queries = self.heads * self.q_len * self.head_dim
        keys = self.kv_heads * self.kv_len * (self.head_dim + self.v_head_dim)
        return self.batch * (queries + keys) * self.torch_dtype.itemsize

    def as_dict(self) -> dict[str, Any]:
        """Every field by the name it has in YAML and in records."""
        named = self.model_dump(by_alias=True)
        # Of what is no image, these say nothing; left out, a case keeps its id.
        usual = dict.fromkeys(OF_IMAGES) | _LATER
        return {
            key: value for key, value in named.items() if key not in usual or value != usual[key]
        }

    def __str__(self) -> str:
        """The fields a reader tells workloads apart by, those at their usual value left out."""
        level = "" if self.level == "op" else f"{self.level} "
        text = f"{level}{self.pass_} B{self.batch} H{self.heads}"
        text += f"/{self.kv_heads}" if self.kv_heads != self.heads else ""
        text += f" L{self.q_len}" if self.pass_ != "decode" else ""
        text += f" kv{self.kv_len}" if self.kv_len != self.q_len else ""
        text += f" D{self.head_dim}"
        text += f" Dv{self.v_head_dim}" if self.v_head_dim != self.head_dim else ""
        if self.height is not None:
            text += f" {self.height}x{self.width}x{self.channels}"
        text += f" footprint {self.footprint}" if self.footprint is not None else ""
        text += f" {self.mask} {self.dtype} {self.device}"
        text += f" bias={self.bias}" if self.bias != "none" else ""
        text += f" shared={self.shared}" if self.shared != "none" else ""
        text += f" scale={self.scale:g}" if self.scale != self.head_dim**-0.5 else ""
        text += f" {self.inputs}" if self.inputs != _USUAL_INPUTS else ""
        text += f" seed={self.seed}" if self.seed else ""
        text += f" threads={self.threads}" if self.threads != usable_cpus() else ""
        return text + (" compiled" if self.compile else "")


def _attended_keys(mask: Mask) -> int:
    """Keys that at least one judged row attends to, summed over the sequences of `start`."""
    counted = ((mask.stop > mask.start) & mask.judged).int()
    # +1 where an interval begins, -1 where it ends: a key is attended while the sum is above 0.
    edges = torch.zeros((len(mask.start), mask.kv_len + 1), dtype=torch.int32)
    edges.scatter_add_(1, mask.start, counted).scatter_add_(1, mask.stop, -counted)
    return int((edges.cumsum(1) > 0).sum())


def _size(given: Any) -> int:
    """A size to derive others from; 1 when it is none, for then its own field is the error."""
    return given if type(given) is int and given > 0 else 1


@dataclass(frozen=True)
class VariantSpec:
    """A variant's name and the parameters that differ from their defaults, in field order."""

    name: str
    params: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value}" for name, value in self.params)
        return f"{self.name}({inside})" if inside else self.name


@dataclass(frozen=True)
class Case:
    """One variant on one workload."""

    variant: VariantSpec
    workload: Workload

    @property
    def id(self) -> str:
        """A hash of the content: the same case has the same id in every run."""
        return content_hash([self.variant.name, dict(self.variant.params), self.workload.as_dict()])


def content_hash(content: Any) -> str:
    """12 hexadecimal digits of the SHA-256 of the content as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
