"""A snapshot on disk: a folder of Parquet files, complete or absent."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from imlib.errors import SnapshotError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_folder", "write_folder"]

FORMAT: Final = 1
_KEY: Final = b"imlib"
_FIRST: Final = "sessions.parquet"


def write_folder(folder: str | os.PathLike[str], frames: dict[str, pd.DataFrame], info: dict[str, Any]) -> Path:
    """Write frames and info as a folder of Parquet files.

    Parameters
    ----------
    folder : path
        Must not exist. It appears, whole, at the very end: whoever is killed before leaves nothing under this name.
    frames : dict of str to DataFrame
        ``sessions`` among them, whose file carries the info.
    info : dict
        As JSON can hold it.

    Raises
    ------
    SnapshotError
        The folder exists, or cannot be written.
    """
    target = Path(folder)
    if target.exists():
        raise SnapshotError(f"{target} exists: a snapshot is saved under a new name and never over another")
    building = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        for name, frame in frames.items():
            table = pa.Table.from_pandas(frame, preserve_index=False)
            note = {"format": FORMAT, "frame": name}
            if _file(name) == _FIRST:
                note |= {"info": info, "frames": list(frames)}
            metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(note).encode()}
            pq.write_table(table.replace_schema_metadata(metadata), building / _file(name), compression="zstd")
        for path in building.iterdir():
            _sync(path)
        _sync(building)
        building.rename(target)
        _sync(target.parent)
    except (OSError, pa.ArrowException) as problem:
        raise SnapshotError(f"the snapshot could not be saved as {target}: {problem}") from problem
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)  # gone already where all went well
    return target


def read_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Read what `write_folder` wrote.

    Raises
    ------
    SnapshotError
        There is no snapshot, it is of a newer format, or a file of it is missing or damaged; the message says which.
    """
    source = Path(folder)
    if not (source / _FIRST).is_file():
        raise SnapshotError(f"{source} holds no snapshot: {_FIRST} is not there")
    first, note = _read(source / _FIRST)
    frames = {}
    for name in note.get("frames", []):
        if not (source / _file(name)).is_file():
            raise SnapshotError(f"{source} is not whole: {_file(name)} is missing")
        frames[name] = first if _file(name) == _FIRST else _read(source / _file(name))[0]
    return frames, note.get("info", {})


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        table = pq.read_table(path)
        note = json.loads((table.schema.metadata or {})[_KEY])
    except (OSError, KeyError, ValueError, pa.ArrowException) as problem:
        raise SnapshotError(f"{path} is no file of a snapshot, or is damaged: {problem}") from problem
    if note.get("format") != FORMAT:
        raise SnapshotError(
            f"{path} is of format {note.get('format')!r}; this imlib reads {FORMAT}: use the imlib that wrote it"
        )
    return table.to_pandas(), note


def _file(name: str) -> str:
    """Return a frame's file: quoted, because a table may bear any name, and apart from the frames of Redis."""
    return f"{quote(name, safe='')}.parquet"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
