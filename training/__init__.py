"""Train the bundled checkpoint; see ``python -m training --help``."""
