"""A snapshot on disk: a folder of Parquet files, complete or absent."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from imlib.errors import SnapshotError
from imlib.snapshot.info import SnapshotInfo

if TYPE_CHECKING:
    from os import PathLike

FORMAT: Final = 1
_KEY: Final = b"imlib"
_FIRST: Final = "sessions.parquet"
_LONGEST_NAME: Final = 100
"""A table's name may have 64 characters, each quoted in up to 12; a file's name at most 255."""


def check_new(folder: str | PathLike[str]) -> Path:
    """Return where to write a new folder; raise `SnapshotError` if something is there."""
    target = Path(folder)
    if os.path.lexists(target):
        raise refusal(target, "exists: a snapshot is saved under a new name and never over another")
    return target


def write_folder(
    folder: str | PathLike[str], frames: dict[str, pd.DataFrame], info: SnapshotInfo
) -> Path:
    """Write frames, one of them ``sessions``, and info (as JSON) as a folder private to its owner.

    The folder gets its name at the very end, when it is complete: a process that is killed before
    leaves nothing under this name.

    Raises
    ------
    SnapshotError
        The folder exists, or cannot be written.
    """
    target = check_new(folder)
    building = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".imlib-", dir=target.parent))
        files, snapshot = _files(frames), secrets.token_hex(8)
        for name, frame in frames.items():
            table = pa.Table.from_pandas(frame, preserve_index=False)
            note: dict[str, Any] = {"format": FORMAT, "frame": name, "snapshot": snapshot}
            if files[name] == _FIRST:
                note |= {"info": info, "files": files}
            metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(note).encode()}
            table = table.replace_schema_metadata(metadata)
            pq.write_table(
                table, building / files[name], compression="zstd", write_page_checksum=True
            )
        for path in building.iterdir():
            _sync(path)
        _sync(building)
        building.rename(target)
        _sync(target.parent)
    except (OSError, pa.ArrowException, TypeError, ValueError) as problem:
        raise SnapshotError(
            f"the snapshot could not be saved as {target}: {_line(problem)}", path=str(target)
        ) from problem
    finally:
        if building is not None:
            # If all went well it has its new name, and nothing is left here.
            shutil.rmtree(building, ignore_errors=True)
    return target


def read_folder(folder: str | PathLike[str]) -> tuple[dict[str, pd.DataFrame], SnapshotInfo]:
    """Read what `write_folder` wrote.

    Raises
    ------
    SnapshotError
        There is no snapshot, it is of a newer format, or one of its files is missing or damaged;
        the message says which.
    """
    source = Path(folder)
    try:
        there = (source / _FIRST).is_file()
    except OSError as problem:
        raise refusal(source, f"cannot be read: {_line(problem)}") from problem
    if not there:
        raise refusal(source, f"holds no snapshot: {_FIRST} is not there")
    first, note = _read(source / _FIRST, "sessions")
    frames = {"sessions": first}
    if not all(isinstance(note.get(part), dict) for part in ("files", "info")):
        raise refusal(source, f"is not whole: {_FIRST} does not say how the snapshot was taken")
    for name, file in note["files"].items():
        path = source / file
        if not path.is_file():
            raise refusal(source, f"is not whole: {file} is missing")
        if file != _FIRST:
            frames[name], its = _read(path, name)
            if its.get("snapshot") != note.get("snapshot"):
                raise refusal(path, f"is of another snapshot than {_FIRST} beside it")
    return frames, note["info"]


def _read(path: Path, frame: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        # As one file: read_table would take folders named like a=1 for partitions.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            note = json.loads((file.schema_arrow.metadata or {}).get(_KEY, b"{}"))
            if not isinstance(note, dict) or "format" not in note:
                raise refusal(path, "is no file of a snapshot: save() did not write it")
            if note["format"] != FORMAT:
                advice = f"this imlib reads {FORMAT}: use the imlib that wrote it"
                raise refusal(path, f"is of format {note['format']!r}; {advice}")
            table = file.read()
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise refusal(path, f"is damaged, or no Parquet file: {_line(problem)}") from problem
    if note.get("frame") != frame:
        held = f"holds the frame {note.get('frame')!r}, not {frame!r}"
        raise refusal(path, f"{held}: files were renamed or mixed up")
    try:
        # pandas' own note in the file carries every dtype but decimals.
        read = table.to_pandas(
            types_mapper=lambda one: pd.ArrowDtype(one) if pa.types.is_decimal(one) else None
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException) as problem:
        raise refusal(
            path, f"is damaged: what pandas noted in it cannot be used ({problem!r})"
        ) from problem
    return read, note


def refusal(path: Path, problem: str) -> SnapshotError:
    """Return an error about a folder or file, whose path begins the message."""
    return SnapshotError(f"{path} {problem}", path=str(path))


def _files(names: Iterable[str]) -> dict[str, str]:
    """Return a file's name for each frame: near the frame's own, and unique whatever the case."""
    files: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem = quote(name, safe="")[:_LONGEST_NAME]
        file, count = f"{stem}.parquet", 1
        while file.casefold() in taken:
            count += 1
            file = f"{stem}~{count}.parquet"
        taken.add(file.casefold())
        files[name] = file
    return files


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
