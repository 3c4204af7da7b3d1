from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import options
from harness.errors import VariantError

NEEDY = '''
from dataclasses import dataclass
from harness import AttentionOp, register

print("importing")

@register("needy")
@dataclass(frozen=True)
class Needy(AttentionOp):
    """A parameter without a default."""

    size: int

    def forward(self, q, k, v, *, mask, scale):
        return mask.softmax(q @ k.mT * scale / self.size) @ v
'''


def test_a_file_that_crashes_at_import_is_named(installed: None, tmp_path: Path) -> None:
    path = tmp_path / "crashing.py"
    path.write_text("import ctypes\nctypes.string_at(0)\n")
    with pytest.raises(VariantError, match=r"crashing.py: its import was killed by SIGSEGV; mend"):
        options.load_variants([str(path)])


def test_a_file_that_hangs_at_import_is_named(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "IMPORT_S", 0.5)
    path = tmp_path / "hanging.py"
    path.write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(VariantError, match=r"hanging.py: its import did not end within 0.5 s; do"):
        options.load_variants([str(path)])


def test_a_folder_is_no_variant_file(installed: None, tmp_path: Path) -> None:
    folder = tmp_path / "folder.py"
    folder.mkdir()
    with pytest.raises(VariantError, match=r"folder.py: a folder; name a .py file or a variant"):
        options.load_variants([str(folder)])


def test_a_parameter_without_default_is_asked_for_and_taken(
    installed: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "needy.py"
    path.write_text(NEEDY)
    with pytest.raises(VariantError, match=r"needy.py: needy: parameter 'size' has no default"):
        options.load_variants([str(path)])
    specs, files = options.load_variants([str(path), "needy(size=3)"])
    assert [str(spec) for spec in specs] == ["needy(size=3)"]
    assert files == (str(path),)
    # What a file prints while it is imported is no part of an answer for a program.
    printed = capsys.readouterr()
    assert (printed.out, "importing" in printed.err) == ("", True)
