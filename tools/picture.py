"""Draw the README's picture: two devices of one user, watched second by second on a private server.

    python -m tools.picture

The picture says of itself, in words, what it draws; the README's alternative text is the same.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Final

import imlib
from lessons.plots import lease_timeline
from lessons.simulation import Observed, observe
from lessons.style import notebook_style
from tools import command_line
from tools.notebook import NOTEBOOKS

PICTURE: Final = NOTEBOOKS / "pictures" / "lease.svg"
# As in 02: the phone loses its network at once; the laptop goes on for a while, and keeps the key
# alive.
_REPORTS: Final = {"phone": (-42, (0,)), "laptop": (88, range(0, 31, 5))}


def observed() -> Observed:
    """Return what becomes of both devices within a minute, by a clock that is turned."""
    clock = imlib.ManualClock(1512270533)
    statuses = {
        name: imlib.SessionStatus(7, key, 1, 3, 99, int(clock()))
        for name, (key, _) in _REPORTS.items()
    }
    with imlib.connect(
        "embedded://", "embedded://", scratch=True, clock=clock, lease="key"
    ) as deployment:
        times = {status: _REPORTS[name][1] for name, status in statuses.items()}
        return observe(
            deployment,
            clock,
            50,
            times,
            {status.to_field(): name for name, status in statuses.items()},
        )


def words(seen: Observed) -> str:
    """Return what the picture draws, in words.

    Parameters
    ----------
    seen : Observed
        What `observed` returned.
    """
    lives = []
    for name, state in seen.state.items():
        runs = [
            (key, [at for at, _ in run])
            for key, run in groupby(state.dropna().items(), key=lambda item: item[1])
        ]
        spans = ", ".join(f"{key} from second {seconds[0]}" for key, seconds in runs)
        reports = _REPORTS[str(name)][1]
        lives.append(f"the {name} (last report at second {reports[-1]}) is {spans}")
    gone = int(seen.ttl[seen.ttl == 0].index[0])
    return (
        f"Two devices of one user, over time: {'; '.join(lives)}. Redis deletes the key at "
        f"second {gone}."
    )


def draw(path: Path) -> None:
    """Draw the picture, and write what it draws into it."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    notebook_style()
    seen = observed()
    # Letters as outlines: the same on every machine. The rest makes a second run write the same
    # file.
    mpl.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "imlib"})
    # A background of its own, so that it can be read where pages are dark.
    figure = plt.figure(figsize=(7.2, 4.4), facecolor="white")
    figure.suptitle("The phone falls silent; the laptop keeps its field in Redis", fontsize=11)
    lease_timeline(seen, figure)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Description": words(seen), "Date": None, "Creator": None})


def said(path: Path) -> str:
    """Return what a picture that `draw` drew says of itself."""
    found = re.search(
        r"<dc:description>(.*?)</dc:description>", path.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    return found[1] if found else ""


if __name__ == "__main__":
    command_line("tools.picture", __doc__).parse_args()
    draw(PICTURE)
