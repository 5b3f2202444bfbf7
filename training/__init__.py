"""How the bundled checkpoint was made: ``python -m training --help``."""
