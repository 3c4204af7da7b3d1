"""`python -m harness.cli` is `attnbench`."""

from harness.cli import main

if __name__ == "__main__":
    main()
