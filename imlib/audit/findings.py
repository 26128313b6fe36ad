"""What an audit found: rows for a program, and one screen for a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import NamedTuple
from unicodedata import east_asian_width

import pandas as pd

from imlib.errors import printable

SKIPPED = "skipped"
SEVERITIES = {"error": "31", "warning": "33", "info": "36"}
"""The worst first, each with the number of its colour in a terminal."""
WIDTH = 100
_LINES = 40
_SAMPLES = 3


class Finding(NamedTuple):
    """One row of `Findings`."""

    check: str
    severity: str
    subject: str
    what: str
    how_to_look: str


@dataclass(frozen=True, eq=False, repr=False)
class Findings:
    """What an audit found. Its repr is one screen: the worst first, two lines a cause.

    It has a length and is iterated over by finding; it is true if there is any.

    Parameters
    ----------
    rows : DataFrame
        check, severity (``info``, ``warning``, ``error``, ``skipped``), subject, what, how_to_look
        (a query for ``snapshot.sql``, or what to do); all str; in the order of the checks, then by
        subject. A check that could not judge, or not all, has a row of severity ``skipped``.
    counts : dict of str to int
        How many each check found, those too that are beyond the limit and in no row.
    """

    rows: pd.DataFrame
    counts: dict[str, int]

    def __iter__(self) -> Iterator[Finding]:
        found = self.rows[self.rows["severity"] != SKIPPED]
        return map(Finding._make, found.itertuples(index=False))

    def __len__(self) -> int:
        return int((self.rows["severity"] != SKIPPED).sum())

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.summary())}</pre>"

    def summary(self, command: str = "imlib audit", *, colour: bool = False) -> str:
        """Return at most 40 lines of 100 columns; the last counts what else there is.

        Parameters
        ----------
        command : str
            What shows the rows of a check if ``--check NAME`` follows.
        colour : bool
            Whether severities are coloured, as a terminal does.
        """
        causes: dict[str, list[Finding]] = {}
        for one in self:
            causes.setdefault(one.check, []).append(one)
        worst = [*SEVERITIES]
        ordered = sorted(causes.values(), key=lambda found: worst.index(found[0].severity))
        totals = dict.fromkeys(SEVERITIES, 0)
        for found in ordered:
            totals[found[0].severity] += self.counts[found[0].check]
        counted = ", ".join(f"{count:,} {name}" for name, count in totals.items() if count)
        lines = [f"kinds: {len(ordered)}; findings: {counted}" if ordered else "nothing was found"]
        shown = ordered[: (_LINES - 2) // 2]
        for found in shown:
            lines += self._cause(found, command, colour=colour)
        lines.append(self._rest(ordered[len(shown) :], command))
        return "\n".join(filter(None, lines))

    def _cause(self, found: list[Finding], command: str, *, colour: bool) -> list[str]:
        first, count = found[0], self.counts[found[0].check]
        samples = "; ".join(one.subject for one in found[:_SAMPLES])
        times = f" ({count:,})" if count > 1 else ""
        line = f"{first.severity:8}{first.check}{times}  {first.what}: {samples}"
        line = _cut(printable(line))
        if colour:
            painted = f"\x1b[1;{SEVERITIES[first.severity]}m{first.severity}\x1b[0m"
            line = painted + line.removeprefix(first.severity)
        step = printable(first.how_to_look)
        # Never cut: who copies it runs it.
        if _width(step) > WIDTH - 8:
            step = f"{command} --check {first.check}"
        return [line, f"{'':8}{step}"]

    def _rest(self, unseen: list[list[Finding]], command: str) -> str:
        parts = []
        if unseen:
            names = ", ".join(found[0].check for found in unseen)
            parts.append(f"and {len(unseen)} more kinds ({command} --all): {names}")
        skipped = self.rows.loc[self.rows["severity"] == SKIPPED, "check"].unique()
        if len(skipped):
            parts.append(f"not judged, or not wholly ({len(skipped)}): {', '.join(skipped)}")
        return _cut("; ".join(parts))


def _width(text: str) -> int:
    return len(text) + sum(east_asian_width(one) in "WF" for one in text)


def _cut(line: str) -> str:
    """Return a line that fits; if it is cut, its last character says so."""
    if _width(line) <= WIDTH:
        return line
    while _width(line) >= WIDTH:
        line = line[:-1]
    return f"{line}…"
