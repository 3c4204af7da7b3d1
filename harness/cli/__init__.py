"""The command line: parses, prints, delegates; nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from harness.cli.group import LazyGroup
from harness.cli.pipe import unread
from harness.errors import AttnbenchError

COMMANDS = {
    "run": ("harness.cli.run", "Run a suite on this machine."),
    "list": ("harness.cli.listing", "List variants, suites or runs."),
    "show": ("harness.cli.show", "Show a variant, a suite or a run."),
    "check": ("harness.cli.check", "Check whether a variant is right; nothing is timed."),
    "report": ("harness.cli.output", "Turn runs into a page, figures and tables."),
    "export": ("harness.cli.output", "Write the records of runs in another format."),
    "compare": ("harness.cli.compare", "Compare the same cases of two runs."),
    "schedule": (
        "harness.cli.schedule",
        "Schedule attention on a ring of elements, cycle by cycle.",
    ),
    "machine": ("harness.cli.machine", "Say what this machine is, and what hurts measurements."),
    "schema": ("harness.cli.output", "Print the JSON Schema of suite files."),
    "completion": ("harness.cli.output", "Print the shell code that completes attnbench."),
}


@click.group(cls=LazyGroup, commands_from=COMMANDS)
@click.version_option(package_name="attnbench", prog_name="attnbench")
def cli() -> None:
    """Which attention should I use here, and can I trust that answer?"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leaves with 0, 2 for a user's error, 3 when interrupted."""
    try:
        code = cli.main(args=arguments, prog_name="attnbench", standalone_mode=False)
        with unread():
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = 2
    except AttnbenchError as error:
        click.echo(f"attnbench: {error}", err=True)
        code = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("attnbench: interrupted", err=True)
        code = 3
    sys.exit(code if isinstance(code, int) else 0)
