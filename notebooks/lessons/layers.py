"""The layers of imlib, read from the contract in pyproject.toml."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

__all__ = ["table"]


def table() -> pd.DataFrame:
    """Return a row for each room of imlib, from the roof down: layer, room, subject.

    Layers are counted from the ground, 0. The subject is the first line of the room's docstring; no
    room is run for it.
    """
    checkout = Path(__file__).parents[2]
    project = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))
    contract = next(one for one in project["tool"]["importlinter"]["contracts"] if "layers" in one)
    layers = [re.split(r" [|:] ", names) for names in contract["layers"]]
    roof = len(layers) - 1
    rows = [
        (roof - below, room, _subject(room))  # the contract begins at the roof
        for below, rooms in enumerate(layers)
        for room in rooms
    ]
    return pd.DataFrame(rows, columns=["layer", "room", "subject"])


def _subject(room: str) -> str:
    found = find_spec(f"imlib.{room}")
    if found is None or found.origin is None:
        raise LookupError(f"imlib has no room {room}: mend the layers in pyproject.toml")
    said = ast.get_docstring(ast.parse(Path(found.origin).read_text("utf-8")))
    return (said or "").partition("\n")[0]
