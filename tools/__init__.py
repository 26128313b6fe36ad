"""What make runs: the tour, the refresh of the notebooks' outputs, the set-up."""

from __future__ import annotations

import argparse

__all__ = ["command_line"]


def command_line(name: str, says: str | None) -> argparse.ArgumentParser:
    """Return a parser of a tool's arguments whose ``--help`` is the tool's own docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=says,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
