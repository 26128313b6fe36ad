"""Measure everything, print the table and keep the figures in build/bench.json.

python -m benchmarks [presence codec ...]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

import pytest
from tqdm import tqdm

from benchmarks.measure import RUNS, Row, table

SUBJECTS = ("codec", "presence", "sql", "snapshots", "tables")
FIGURES = Path("build/bench.json")


def main() -> int:
    """Run the subjects that were named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; all by default"
    )
    chosen = parser.parse_args().subjects or list(SUBJECTS)
    if unknown := [name for name in chosen if name not in SUBJECTS]:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(SUBJECTS)}")
    rows: list[Row] = []
    left_out: list[str] = []
    for name in tqdm(chosen, unit="subject", disable=None, leave=False):
        try:
            rows += importlib.import_module(f"benchmarks.{name}").run()
        except (
            pytest.skip.Exception
        ) as reason:  # how the tests' private servers say that a program is missing
            left_out.append(f"{name} was not measured: {reason}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; medians of {RUNS} in one run, times a unit of work\n")
    print(table(rows))
    print(*left_out, sep="\n", end="\n" if left_out else "")
    FIGURES.parent.mkdir(exist_ok=True)
    figures = {
        "machine": machine,
        "measured_at": int(time.time()),
        "rows": [row.as_dict() for row in rows],
    }
    FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False), encoding="utf-8")
    print(f"\nkept in {FIGURES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
