"""`python -m harness.variant FILE` imports a variant file: to see, from outside, that it ends."""

import sys
from pathlib import Path

from harness.variant.registry import load_file

if __name__ == "__main__":
    load_file(Path(sys.argv[1]))
