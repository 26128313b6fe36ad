"""SQL tables as frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass
class TablesRead:
    """What was read."""

    frames: dict[str, pd.DataFrame]
    info: dict[str, Any] = field(default_factory=dict)


def read_tables(clients: Any, **_: Any) -> TablesRead:
    """Read nothing yet."""
    return TablesRead({}, {"tables": {}})
