"""What all tests share: no test is timed, and the last line of a run names the backends that were
skipped.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest

from tests.private_servers import programs

# Hypothesis would fail an example that takes 200 ms, which on a busy machine any may.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_ran: set[str] = set()
_skipped: set[str] = set()


def _gather(ran: list[str] | set[str], skipped: list[str] | set[str]) -> None:
    _ran.update(ran)
    _skipped.update(skipped)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand on what this process asked for: from a worker of xdist to its controller,
    else keep it.
    """
    # Only a worker of xdist has it.
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        _gather(programs.ran, programs.skipped)
    else:
        output["backends"] = (sorted(programs.ran), sorted(programs.skipped))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker of xdist handed on; one that crashed handed on nothing."""
    _gather(*getattr(node, "workeroutput", {}).get("backends", ((), ())))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the last line, after pytest's own summary, once."""
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if _skipped:
        outcome = "failed" if os.environ.get("CI") else "skipped"
        print(
            f"Backends {outcome}, not on this machine: {', '.join(sorted(_skipped))} (make "
            "servers)."
        )
    elif _ran:
        print(f"Backends: all that these tests ask for ran: {', '.join(sorted(_ran))}.")
    else:
        print("Backends: these tests ask for none beside the embedded default.")
