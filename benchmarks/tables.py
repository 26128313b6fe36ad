"""Tables of MariaDB into DataFrames, against pandas.read_sql over the same driver."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from benchmarks.measure import Row, medians
from tests.models.stack import Stack, open_stack
from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb
from tests.private_servers.programs import require
from tests.snapshot.reading import read_tables

SIZES = (10_000, 100_000, 1_000_000)
FILL = """INSERT INTO message_boxes
    (user_id, sender_user_id, message_box_type, peer_type, peer_id, pts, message_id,
     media_unread, state, date2,
     created_at, updated_at)
    SELECT 1 + seq % 100000, 1 + seq * 7919 % 100000, seq % 2, 2, 1 + seq * 31 % 100000,
     seq DIV 10, seq DIV 2,
    seq % 3 = 0, 0, 1512270533 + seq, FROM_UNIXTIME(1512270533 + seq),
    IF(seq % 5, FROM_UNIXTIME(1512270533 + seq), NULL)
    FROM seq_1_to_{rows}"""
QUERY = "SELECT * FROM message_boxes ORDER BY id"
# A process of its own, for a peak can't be taken back. Linux's ru_maxrss would count the parent's
# memory before exec.
MEMORY = """
import re, resource, sys
from pathlib import Path
from tests.snapshot.reading import read_tables
from tests.models.stack import open_stack
with open_stack(sys.argv[1], tables_too=False) as stack:
    frames = read_tables(stack.deployment).frames
if sys.platform == "linux":
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak, sum(int(frame.memory_usage(deep=True).sum()) for frame in frames.values()))
"""


def run(sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """Measure ``message_boxes`` of each size on a private MariaDB."""
    rows = []
    with private_mariadb() as server:
        for size in sizes:
            url = server.new_database()
            with open_stack(url) as stack:
                server.run(FILL.format(rows=size), stack.deployment.engine.url.database)
                rows += _rows(server, stack, url, size)
                server.run(f"DROP DATABASE {stack.deployment.engine.url.database}")
    return rows


def _rows(server: PrivateMariaDB, stack: Stack, url: str, size: int) -> list[Row]:
    def ours() -> pd.DataFrame:
        return read_tables(stack.deployment, tables=["message_boxes"], limit=size).frames[
            "message_boxes"
        ]

    def pandas() -> pd.DataFrame:
        # Its default makes floats of integers beside NULL: this is the way that doesn't.
        return pd.read_sql(QUERY, stack.deployment.engine, dtype_backend="numpy_nullable")

    def client() -> None:
        command = [
            require("mariadb"),
            "--no-defaults",
            f"--socket={server.socket}",
            "--user=root",
            "--quick",
            "--batch",
        ]
        subprocess.run(
            [*command, "-e", QUERY, stack.deployment.engine.url.database or ""],
            stdout=subprocess.DEVNULL,
            check=True,
        )

    _check_equal(ours(), pandas())
    contenders: list[Callable[[], object]] = [ours, pandas, client]
    if importlib.util.find_spec("connectorx"):  # there is no wheel of it for every platform
        connectorx: Any = importlib.import_module("connectorx")

        name, socket = stack.deployment.engine.url.database, quote(str(server.socket), safe="")
        address = f"mysql://root@localhost/{name}?socket={socket}"
        contenders.append(lambda: connectorx.read_sql(address, QUERY))
    times = medians(contenders, units=size)
    what = f"message_boxes of {size:,} rows, a row"
    floor = "the mariadb client's text to /dev/null"
    rows = [
        Row(
            what,
            times[0],
            times[1],
            "pandas.read_sql",
            times[2],
            floor,
            f"4 times{_memory(url, size)}",
        )
    ]
    if len(times) > 3:
        rows.append(Row(what, times[0], times[3], "connectorx"))
    return rows


def _check_equal(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    for name in theirs:
        one, other = ours[name], theirs[name]
        if pd.api.types.is_datetime64_any_dtype(one.dtype):
            one = one.dt.tz_localize(None)
            other = pd.to_datetime(other)
        same = np.array_equal(one.isna(), other.isna()) and bool(
            (one.dropna() == other.dropna()).all()
        )
        if not same:
            raise AssertionError(
                f"the two sides do not read the same {name}: the comparison would mean nothing"
            )


def _memory(url: str, size: int) -> str:
    if size < SIZES[-1]:
        return ""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, url], capture_output=True, text=True, check=True
    )
    peak, frames = (int(figure) / 1e6 for figure in done.stdout.split())
    allowed = 2.5 * frames + 200
    if peak > allowed:
        raise AssertionError(
            f"the process peaked at {peak:.0f} MB: promised are {allowed:.0f}, for frames of "
            f"{frames:.0f}"
        )
    return f"; peak {peak:.0f} MB of {allowed:.0f} allowed for frames of {frames:.0f}"
