"""The command ``imlib``."""

from imlib.cli.main import main

__all__ = ["main"]
