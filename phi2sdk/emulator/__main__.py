"""Run ``python -m phi2sdk.emulator``, which is the same as ``phi2 emulate``."""

from phi2sdk.cli import emulate_main

if __name__ == "__main__":
    emulate_main()
