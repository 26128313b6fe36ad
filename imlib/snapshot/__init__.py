"""State into DataFrames: what a deployment held when it was looked at."""

from imlib.snapshot.selection import SnapshotRequest
from imlib.snapshot.snapshot import Snapshot

__all__ = ["Snapshot", "SnapshotRequest"]
