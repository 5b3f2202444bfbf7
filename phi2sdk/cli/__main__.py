"""``python -m phi2sdk.cli``: the command ``phi2``."""

from phi2sdk.cli import main

main()
