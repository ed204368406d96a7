"""The command line. Modules are imported when their command runs, so that ``--help`` is quick."""

from __future__ import annotations

import contextlib
import sys

import click

from meshbdd import __version__
from meshbdd.cli.output import complain
from meshbdd.errors import MeshbddError

_COMMANDS = {
    "check": ("meshbdd.cli.check", "check", "Say what is wrong or doubtful about features and manifests."),
    "demo": ("meshbdd.cli.run", "demo", "Bring a lab up, run the demo features on it, take it down."),
    "lab": ("meshbdd.cli.lab", "lab", "The lab: a service mesh on this machine."),
    "load": ("meshbdd.cli.load", "load", "Send a request again and again, at a rate or by users."),
    "report": ("meshbdd.cli.report", "report", "Build the report's page from the results of a run."),
    "run": ("meshbdd.cli.run", "run", "Run feature files; takes behave's options too."),
    "steps": ("meshbdd.cli.steps", "steps", "List the phrases that feature files can use."),
}


class _Lazy(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        from importlib import import_module  # noqa: PLC0415 - lazily, see above

        module, attribute, _ = _COMMANDS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, _, told) in sorted(_COMMANDS.items())])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="meshbdd")
def cli() -> None:
    """Prove, in plain Gherkin, what microservices on a service mesh survive."""


def main() -> None:
    """The command ``meshbdd``; errors are sentences on standard error, and the exit code says of which kind."""
    try:
        cli(prog_name="meshbdd", standalone_mode=False)
    except MeshbddError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        with contextlib.suppress(OSError):  # standard error may take nothing
            error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        sys.exit(130)
