"""The `ptycho-study` command.

Help must not wait for numpy or TensorFlow: every command imports what it needs when it is called.
Exit codes: 0 success, 1 a run failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Any

import click

import ptycho_lib
from ptycho_lib.cli import (
    application as cli_application,
    compare as cli_compare,
    data as cli_data,
    export as cli_export,
    figures as cli_figures,
    publish as cli_publish,
    results as cli_results,
    study as cli_study,
)
from ptycho_lib.errors import InputError
from ptycho_lib.optional_dependencies import extra_of, extra_problem, skip_address_grammar

FAILED = 1
BAD_INPUT = 2


MOST_PROBLEMS = 50
"""Problems that are shown at once; a study of a thousand runs may have as many."""


class StudyGroup(click.Group):
    """Commands that show each problem of the input as a paragraph and end with exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the work."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; no traceback for what the user can fix."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            shown = error.problems[:MOST_PROBLEMS]
            click.echo("\n\n".join(map(str, shown)), err=True)
            if rest := len(error.problems) - len(shown):
                click.echo(f"\n… and {rest} more.", err=True)
            ctx.exit(BAD_INPUT)
        except ModuleNotFoundError as error:
            extra = extra_of(error.name)
            problem = extra and extra_problem(extra, f"ptycho-study {ctx.invoked_subcommand}")
            if not problem:
                raise
            click.echo(str(problem), err=True)
            ctx.exit(BAD_INPUT)
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output is gone
            ctx.exit(FAILED)


@click.group(cls=StudyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(ptycho_lib.__version__)
def main() -> None:
    """Generalization studies in ptychography: how many patterns a network needs."""
    skip_address_grammar()


for _command in (
    cli_data.simulate,
    cli_data.check,
    cli_data.prepare,
    cli_study.plan,
    cli_study.run,
    cli_results.status,
    cli_results.aggregate,
    cli_results.report,
    cli_figures.figures,
    cli_results.verify,
    cli_compare.compare,
    cli_publish.pack,
    cli_application.reconstruct,
    cli_export.export,
    cli_application.fine_tune,
):
    main.add_command(_command)

if __name__ == "__main__":
    main()
