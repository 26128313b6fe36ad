"""Reading tables in tests: what is asked for, by name."""

from __future__ import annotations

from typing import Any

from imlib.context import Context
from imlib.snapshot import SnapshotRequest
from imlib.snapshot.tables import Progress, TablesRead
from imlib.snapshot.tables import read_tables as read


def read_tables(
    context: Context, progress: Progress = lambda name, rows: None, **asked: Any
) -> TablesRead:
    """Return what `imlib.snapshot.tables.read_tables` reads of a request made of these
    arguments.
    """
    return read(context.replica, SnapshotRequest(**asked), progress)
