"""How a measured figure is written, in the table of `make bench` and on the site."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Return a time with its unit, nine characters wide; blanks for None."""
    if seconds is None:
        return f"{'':9}"
    for unit, factor in (("s ", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:6.1f} {unit}"
    return f"{seconds * 1e9:6.0f} ns"
