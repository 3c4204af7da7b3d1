"""flash_attn: what each version is given, on stand-ins that compute what its documentation says."""

from __future__ import annotations

import itertools
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.inputs import make_inputs
from harness.workload import Workload
from tests.build import workload
from variants.flash_attn import FlashAttn, Version

MODULES: dict[Version, str] = {
    2: "flash_attn",
    3: "flash_attn_interface",
    4: "flash_attn.cute",
}
VERSIONS = tuple(MODULES)
SHAPE: dict[str, Any] = {"batch": 2, "heads": 4, "kv_heads": 2, "q_len": 33, "head_dim": 16}
MASKS = ("none", "causal", "window(5)", "window(1)", "causal+window(7)")


class Package:
    """A FlashAttention of one version; keeps the arguments of its last call.

    As documented: (B, L, H, D); causal and windows aligned bottom-right, a window of (left, right)
    keys beside the own, -1 (None in version 4) for no limit; alibi adds -slope |distance|; a row
    that sees nothing is 0, which version 4 does not say, so that here it is NaN.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        self.module = ModuleType(MODULES[version])
        vars(self.module).update(
            flash_attn_func=self.attend, flash_attn_varlen_func=self.attend_varlen
        )
        self.given: dict[str, Any] = {}

    def attend(self, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Any:
        """One call of flash_attn_func."""
        self.given = options
        out = self._softmax(q, k, v, options)
        return (out, None) if self.version == 4 else out

    def attend_varlen(
        self, q: Tensor, k: Tensor, v: Tensor, *, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
        max_seqlen_q: int, max_seqlen_k: int, **options: Any,
    ) -> Any:  # fmt: skip
        """One call of flash_attn_varlen_func on (total, H, D)."""
        self.given = options
        assert q.ndim == 3
        assert cu_seqlens_q.dtype == torch.int32
        assert torch.equal(cu_seqlens_q, cu_seqlens_k)
        assert max_seqlen_q == max_seqlen_k == int(cu_seqlens_q.diff().max())
        parts = [
            self._softmax(q[None, first:last], k[None, first:last], v[None, first:last], options)[0]
            for first, last in itertools.pairwise(cu_seqlens_q.tolist())
        ]
        out = torch.cat(parts)
        return (out, None) if self.version == 4 else out

    def _softmax(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
        away = torch.arange(k.shape[2]) - torch.arange(q.shape[2])[:, None]
        away = away + q.shape[2] - k.shape[2]
        seen = (away <= 0) | torch.tensor(not options["causal"])
        unlimited = None if self.version == 4 else -1
        left, right = options["window_size"]
        seen &= torch.tensor(left == unlimited) | (away >= -(left or 0))
        seen &= torch.tensor(right == unlimited) | (away <= (right or 0))
        scores = q @ k.mT * options["softmax_scale"]
        if "alibi_slopes" in options:
            assert self.version == 2
            assert options["alibi_slopes"].dtype == torch.float32
            scores = scores - options["alibi_slopes"][:, None, None] * away.abs()
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        out: Tensor = (weights if self.version == 4 else weights.nan_to_num(0.0)) @ v
        return out.transpose(1, 2)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install stand-ins of some versions, and no other FlashAttention."""

    def install(*versions: Version) -> dict[Version, Package]:
        packages = {version: Package(version) for version in versions}
        for version, name in MODULES.items():
            found = packages[version].module if version in packages else None
            monkeypatch.setitem(sys.modules, name, found)
        if 4 in packages and 2 not in packages:  # it alone makes a package without functions
            monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
        return packages

    return install


def _error(op: FlashAttn, case: Workload) -> float:
    """The largest difference from the definition, of the output and of the gradients."""
    mask = case.build_mask()
    inputs = [tensor.double().requires_grad_() for tensor in make_inputs(case)]
    out = op.prepare(case, mask)(*inputs)
    q, *heads = inputs
    k, v = (tensor.repeat_interleave(case.heads // case.kv_heads, 1) for tensor in heads)
    truth = op.definition(q, k, v, mask=mask, scale=case.scale)
    assert out.shape == truth.shape
    upstream = torch.randn(truth.shape, dtype=truth.dtype)
    found = (out, *torch.autograd.grad(out, inputs, upstream))
    expected = (truth, *torch.autograd.grad(truth, inputs, upstream))
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kv_len", [33, 50])
@pytest.mark.parametrize("mask", MASKS)
def test_each_version_is_given_our_mask(
    installed: Any, mask: str, kv_len: int, version: Version
) -> None:
    installed(version)
    assert _error(FlashAttn(version), workload(**SHAPE, kv_len=kv_len, mask=mask)) < 1e-6


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mask", ["packed(3)", "causal+packed(3)", "window(4)+packed(2)"])
def test_packed_sequences_follow_one_another(installed: Any, mask: str, version: Version) -> None:
    installed(version)
    assert _error(FlashAttn(version), workload(**SHAPE, mask=mask, seed=3)) < 1e-6


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_that_see_nothing_are_zero(installed: Any, version: Version) -> None:
    installed(version)
    case = workload(**SHAPE, kv_len=20, mask="causal")
    out = FlashAttn(version).prepare(case, case.build_mask())(*make_inputs(case))
    assert (out[:, :, :13] == 0).all()
    assert out.isfinite().all()


@pytest.mark.parametrize("mask", ["causal", "window(6)", "causal+packed(3)"])
def test_version_2_is_given_our_slopes(installed: Any, mask: str) -> None:
    installed(2)
    assert _error(FlashAttn(2), workload(**SHAPE, mask=mask, bias="alibi")) < 1e-5


def test_windows_are_left_and_right(installed: Any) -> None:
    packages = installed(*VERSIONS)
    expected = {
        "none": (False, (-1, -1)),
        "causal": (True, (-1, 0)),
        "window(5)": (False, (4, 4)),
        "causal+window(5)": (True, (4, 0)),
    }
    for mask, (causal, window) in expected.items():
        case = workload(mask=mask)
        for version in VERSIONS:
            FlashAttn(version).prepare(case, case.build_mask())(*make_inputs(case))
            sides = tuple(None if side < 0 and version == 4 else side for side in window)
            assert packages[version].given == {
                "softmax_scale": 0.125,
                "causal": causal,
                "window_size": sides,
            }


@pytest.mark.parametrize(
    ("found", "chosen"), [((2, 3, 4), 4), ((2, 3), 3), ((2,), 2), ((2, 4), 4), ((4,), 4)]
)
def test_auto_is_the_newest_that_is_installed(
    installed: Any, found: tuple[Version, ...], chosen: Version
) -> None:
    packages = installed(*found)
    case = workload()
    FlashAttn().prepare(case, case.build_mask())(*make_inputs(case))
    assert [version for version in packages if packages[version].given] == [chosen]


def test_the_kernels_expected_tell_the_versions_apart() -> None:
    ran: dict[Version, str] = {
        2: "void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4>>(params)",
        3: "void cutlass::device_kernel<flash::enable_sm90<flash::FlashAttnFwdSm90<...>>>",
        4: "kernel_cutlass_kernel_flash_attncuteflash_fwd_sm90FlashAttentionForwardSm90_object",
    }
    for asked in VERSIONS:
        expected = FlashAttn(asked).expected_kernels(workload())
        matching = [v for v, name in ran.items() if any(part in name for part in expected)]
        assert matching == [asked]
    of_any = FlashAttn().expected_kernels(workload())
    assert all(any(part in name for part in of_any) for name in ran.values())


HALF: dict[str, Any] = {"device": "cuda", "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("version", "fields", "reason"),
    [
        ("auto", {}, None),
        (2, {"bias": "alibi", "mask": "causal+packed(2)"}, None),
        (2, {"head_dim": 20, "kv_heads": 1, "mask": "window(3)"}, None),
        (3, {"head_dim": 64, "v_head_dim": 512}, None),
        (3, {"head_dim": 192, "v_head_dim": 128, "pass": "backward"}, None),
        (4, {"head_dim": 64, "v_head_dim": 32}, None),
        (
            2,
            {"device": "cpu"},
            "FlashAttention runs on NVIDIA GPUs alone, found device=cpu; use device=cuda",
        ),
        (3, {"dtype": "float32"}, "flash_attn takes float16 or bfloat16, found float32"),
        (
            2,
            {"mask": "causal+padding(0.5)"},
            "mask causal+padding(0.5) is not mapped to flash_attn, which takes sequences of "
            "unequal lengths without their padding; use packed(n)",
        ),
        (2, {"bias": "random"}, "FlashAttention 2 takes no bias but alibi, found bias=random"),
        (3, {"bias": "alibi"}, "FlashAttention 3 takes no bias, found bias=alibi"),
        ("auto", {"bias": "alibi"}, "FlashAttention 4 takes no bias, found bias=alibi"),
        (
            2,
            {"head_dim": 264},
            "FlashAttention 2 takes head_dim up to 256, found head_dim=264, v_head_dim=264",
        ),
        (
            2,
            {"v_head_dim": 32},
            "FlashAttention 2 needs v_head_dim = head_dim, found head_dim=64, v_head_dim=32",
        ),
        (
            3,
            {"head_dim": 60},
            "FlashAttention 3 takes heads whose width is a multiple of 8, found head_dim=60, "
            "v_head_dim=60",
        ),
        (
            3,
            {"head_dim": 128, "v_head_dim": 64},
            "FlashAttention 3 has no kernel for head_dim=128, v_head_dim=64; make them equal",
        ),
        (
            3,
            {"v_head_dim": 512, "pass": "forward+backward"},
            "FlashAttention 3 takes v_head_dim up to 256 here, found head_dim=64, v_head_dim=512",
        ),
        (
            4,
            {"v_head_dim": 264},
            "FlashAttention 4 takes v_head_dim up to 256 here, found head_dim=64, v_head_dim=264",
        ),
    ],
)
def test_unsupported(
    installed: Any, version: Any, fields: dict[str, Any], reason: str | None
) -> None:
    installed(*VERSIONS)
    case = workload(**{"heads": 2, **HALF, **fields})
    assert FlashAttn(version).unsupported(case) == reason


@pytest.mark.parametrize(
    ("version", "found", "reason"),
    [
        (2, (), "ModuleNotFoundError: import of flash_attn halted; None in sys.modules"),
        (2, (4,), "ImportError: flash_attn has no flash_attn_func"),
        (
            "auto",
            (),
            "ImportError: none of flash_attn, flash_attn_interface, flash_attn.cute does",
        ),
    ],
)
def test_a_missing_package_is_a_reason(
    installed: Any, version: Any, found: tuple[Version, ...], reason: str
) -> None:
    installed(*found)
    case = workload(**HALF)
    assert FlashAttn(version).unsupported(case) == f"flash_attn does not import: {reason}"
