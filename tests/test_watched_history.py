"""The history in data/: what it counts is what its changes add up to."""

from __future__ import annotations

from collections import Counter

from imlib.sample import NOW, folder
from imlib.watch import read_history


def test_the_counts_are_what_the_changes_add_up_to() -> None:
    """Whoever replays the changes has, at each count, as many sessions per server."""
    history = read_history(folder("history"))
    servers: dict[tuple[int, int, int], int] = {}
    counts = set()
    for row in history.to_dict("records"):
        session = (row["user_id"], row["auth_key_id"], row["session_id"])
        if row["change"] == "count":
            counts.add(row["seen_at"])
            assert row["sessions"] == Counter(servers.values())[row["server_id"]]
        elif row["change"] == "went":
            assert servers.pop(session) == row["server_id"]
        else:
            servers[session] = row["server_id"]
    assert 548 == len(counts)
    assert NOW - 120 <= history["seen_at"].max().timestamp() <= NOW


def test_server_3_dies_in_its_minute() -> None:
    """At 02:41 all its sessions go, and no other server's."""
    history = read_history(folder("history"))
    minute = history["seen_at"].dt.strftime("%H:%M") == "02:41"
    gone = history[minute & (history["change"] == "went")]
    assert [3] == gone["server_id"].unique().tolist()
    assert 7 == len(gone)
