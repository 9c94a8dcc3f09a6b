"""``python -m papermill``, started a second of processor time sooner: what `NotebookProcess` starts."""

from __future__ import annotations

from ptycho_lib.optional_dependencies import skip_address_grammar


def main() -> None:
    """Run papermill's command line."""
    skip_address_grammar()
    from papermill.cli import papermill  # noqa: PLC0415 - after the line above

    papermill(prog_name="papermill")


if __name__ == "__main__":
    main()
