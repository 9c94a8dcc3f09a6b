"""The command `ptycho-study`: one module for each group of subcommands."""
