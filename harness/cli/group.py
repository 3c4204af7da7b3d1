"""A command group that imports a command when it is called, and knows near names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from harness.cli.pipe import unread
from harness.errors import suggest


class LazyGroup(click.Group):
    """Commands by name: the module that holds each, and its help, known without importing it."""

    def __init__(
        self, *args: Any, commands_from: Mapping[str, tuple[str, str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._homes = commands_from

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order they are most used."""
        return list(self._homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and hand the command over."""
        if cmd_name not in self._homes:
            return None
        module = importlib.import_module(self._homes[cmd_name][0])
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click does, which prints --help here."""
        with unread():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does."""
        with unread():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, naming the near commands for an unknown one."""
        if args and not args[0].startswith("-") and args[0] not in self._homes:
            ctx.fail(f"no command {args[0]!r}; {suggest(args[0], self._homes)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in --help, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._homes.items()])
