"""What a snapshot is to those who only read it: checks and comparisons need no more than these frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Frames"]


class Frames(Protocol):
    """The frames of `imlib.Snapshot`, and the facts of how they were taken; see there for columns and dtypes."""

    @property
    def sessions(self) -> pd.DataFrame:
        """One row a session."""

    @property
    def sequences(self) -> pd.DataFrame:
        """One row a sequence."""

    @property
    def malformed(self) -> pd.DataFrame:
        """What could not be read."""

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table that was read."""

    @property
    def info(self) -> dict[str, Any]:
        """How it was taken."""
