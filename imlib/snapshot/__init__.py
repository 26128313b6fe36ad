"""State into DataFrames: what a deployment held when it was looked at."""

from imlib.snapshot.snapshot import Snapshot, take

__all__ = ["Snapshot", "take"]
