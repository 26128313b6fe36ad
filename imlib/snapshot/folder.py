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
"""A table's name may have 64 characters, quoted up to 12 bytes each; a file's at most 255."""


def write_folder(
    folder: str | PathLike[str], frames: dict[str, pd.DataFrame], info: SnapshotInfo
) -> Path:
    """Write frames, ``sessions`` among them, and info (as JSON) as a folder that nobody but its
    owner may read.

    It appears, whole, at the very end: whoever is killed before leaves nothing under this name.

    Raises
    ------
    SnapshotError
        The folder exists, or cannot be written.
    """
    target = Path(folder)
    if os.path.lexists(target):
        raise SnapshotError(
            f"{target} exists: a snapshot is saved under a new name and never over another",
            path=str(target),
        )
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
            shutil.rmtree(building, ignore_errors=True)  # gone already where all went well
    return target


def read_folder(folder: str | PathLike[str]) -> tuple[dict[str, pd.DataFrame], SnapshotInfo]:
    """Read what `write_folder` wrote.

    Raises
    ------
    SnapshotError
        There is no snapshot, it is of a newer format, or a file of it is missing or damaged; the
        message says which.
    """
    source = Path(folder)
    try:
        there = (source / _FIRST).is_file()
    except OSError as problem:
        raise SnapshotError(
            f"{source} cannot be read: {_line(problem)}", path=str(source)
        ) from problem
    if not there:
        raise SnapshotError(f"{source} holds no snapshot: {_FIRST} is not there", path=str(source))
    first, note = _read(source / _FIRST, "sessions")
    frames = {"sessions": first}
    if not all(isinstance(note.get(part), dict) for part in ("files", "info")):
        raise SnapshotError(
            f"{source} is not whole: {_FIRST} does not say how the snapshot was taken",
            path=str(source),
        )
    for name, file in note["files"].items():
        if not (source / file).is_file():
            raise SnapshotError(f"{source} is not whole: {file} is missing", path=str(source))
        if file != _FIRST:
            frames[name], its = _read(source / file, name)
            if its.get("snapshot") != note.get("snapshot"):
                raise SnapshotError(
                    f"{source / file} is of another snapshot than {_FIRST} beside it",
                    path=str(source / file),
                )
    return frames, note["info"]


def _read(path: Path, frame: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        # As one file: read_table would take folders named like a=1 for partitions.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            note = json.loads((file.schema_arrow.metadata or {}).get(_KEY, b"{}"))
            if not isinstance(note, dict) or "format" not in note:
                raise SnapshotError(
                    f"{path} is no file of a snapshot: save() did not write it", path=str(path)
                )
            if note["format"] != FORMAT:
                advice = "use the imlib that wrote it"
                raise SnapshotError(
                    f"{path} is of format {note['format']!r}; this imlib reads {FORMAT}: {advice}",
                    path=str(path),
                )
            table = file.read()
    except (OSError, ValueError, pa.ArrowException) as problem:
        raise SnapshotError(
            f"{path} is damaged, or no Parquet file: {_line(problem)}", path=str(path)
        ) from problem
    if note.get("frame") != frame:
        raise SnapshotError(
            f"{path} holds the frame {note.get('frame')!r}, not {frame!r}: files were renamed or "
            "mixed up",
            path=str(path),
        )
    try:
        # pandas' own note in the file carries every dtype but this.
        read = table.to_pandas(
            types_mapper=lambda one: pd.ArrowDtype(one) if pa.types.is_decimal(one) else None
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException) as problem:
        raise SnapshotError(
            f"{path} is damaged: what pandas noted in it cannot be used ({problem!r})",
            path=str(path),
        ) from problem
    return read, note


def _files(names: Iterable[str]) -> dict[str, str]:
    """Return each frame's file: readable, though a table may bear any name, and unlike any other
    but for case.
    """
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
