"""A snapshot on disk: a folder of Parquet files, complete or absent."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from imlib.errors import FallbackWarning, SnapshotError, shortened
from imlib.snapshot.info import SnapshotInfo, misfit

FORMAT = 1
_KEY = b"imlib"
_FIRST = "sessions.parquet"
_LONGEST_NAME = 100
"""A table's name may have 64 characters, each quoted in up to 12; a file's name at most 255."""
_LONGEST_LINE = 300
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM}


def check_new(folder: str | os.PathLike[str]) -> Path:
    """Return where to write a new folder; raise `SnapshotError` if something is there."""
    target = Path(folder)
    if os.path.lexists(target):
        raise refusal(target, "exists: a snapshot is saved under a new name and never over another")
    return target


def write_folder(
    folder: str | os.PathLike[str], frames: dict[str, pd.DataFrame], info: SnapshotInfo
) -> None:
    """Write frames, one of them ``sessions``, and info (as JSON) as a folder private to its owner.

    The folder gets its name at the very end, when it is complete: a process that is killed before
    leaves nothing under this name.

    Raises
    ------
    SnapshotError
        The folder exists, or cannot be written.
    """
    target = check_new(folder)
    unsure: list[str] = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _hidden_folder(target) as building:
            _write_files(building, frames, info)
            for path in [*building.iterdir(), building]:
                _sync(path, unsure)
            building.rename(target)
        _sync(target.parent, unsure)
    except (OSError, pa.ArrowException, TypeError, ValueError) as problem:
        raise SnapshotError(
            f"the snapshot could not be saved as {target}: {_line(problem)}", path=str(target)
        ) from problem
    if unsure:
        said = "is saved; this file system cannot promise to keep it if the power fails now"
        warnings.warn(f"imlib: {target} {said}: {unsure[0]}", FallbackWarning, stacklevel=3)


@contextlib.contextmanager
def _hidden_folder(target: Path) -> Iterator[Path]:
    """Make a locked folder, named after the one that it becomes, and remove those of dead writers.

    If it is still there at the end, it is removed.
    """
    prefix = f".{os.fsencode(target.name)[:_LONGEST_NAME].decode(errors='ignore')}.imlib-"
    with contextlib.ExitStack() as locks:
        # The parent is locked meanwhile: no other writer takes a new folder for a dead one's.
        with _locked(target.parent, wait=True) as alone:
            for left in target.parent.iterdir() if alone else ():
                if left.name.startswith(prefix):
                    with _locked(left) as dead:
                        if dead:
                            shutil.rmtree(left, ignore_errors=True)
            building = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
            locks.callback(shutil.rmtree, building, ignore_errors=True)
            building.chmod(0o700)
            locks.enter_context(_locked(building))
        yield building


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Lock a folder; give False where somebody else has, or where there are no locks."""
    locked = False
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            locked = True
        yield locked


def _write_files(building: Path, frames: dict[str, pd.DataFrame], info: SnapshotInfo) -> None:
    files, snapshot = _files(frames), secrets.token_hex(8)
    for name, frame in frames.items():
        whole = pa.Table.from_pandas(frame, preserve_index=False)
        table, as_text = _readable(whole)
        note: dict[str, Any] = {"format": FORMAT, "frame": name, "snapshot": snapshot}
        note["as_text"] = as_text
        if files[name] == _FIRST:
            note |= {"info": info, "files": files}
        metadata = {**whole.schema.metadata, _KEY: json.dumps(note).encode()}
        table = table.replace_schema_metadata(metadata)
        path = building / files[name]
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)
        path.chmod(0o600)


def _readable(table: pa.Table) -> tuple[pa.Table, dict[str, str]]:
    """Return a table that DuckDB and polars read exactly, and the types that are text in it."""
    as_text = {}
    for at, one in enumerate(table.schema):
        column = table.column(at)
        if pa.types.is_decimal256(one.type):
            text = column.cast(pa.string())
        elif pa.types.is_duration(one.type):
            text = pa.array(map(_clock, column.to_pylist()), pa.string())
        else:
            continue
        as_text[one.name] = str(one.type)
        table = table.set_column(at, one.name, text)
    return table, as_text


def _clock(span: timedelta | None) -> str | None:
    """Return a TIME as MySQL writes it, and DuckDB's INTERVAL reads it."""
    if span is None:
        return None
    whole, micros = divmod(abs(span) // timedelta(microseconds=1), 1_000_000)
    sign = "-" if span < timedelta() else ""
    return f"{sign}{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{micros:06}"


def _restored(table: pa.Table, as_text: dict[str, str]) -> pa.Table:
    """Undo `_readable`."""
    for name, kind in as_text.items():
        at = table.schema.get_field_index(name)
        column = table.column(at)
        if decimal := re.fullmatch(r"decimal256\((\d+), (\d+)\)", kind):
            column = column.cast(pa.decimal256(*map(int, decimal.groups())))
        else:
            spans = pd.to_timedelta(pd.Series(column.to_pylist(), dtype=object))
            column = pa.array(spans, pa.duration("us"))
        table = table.set_column(at, name, column)
    return table


def read_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, pd.DataFrame], SnapshotInfo]:
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
        why = f"{_FIRST} is not there" if source.exists() else "there is no such folder"
        raise refusal(source, f"holds no snapshot: {why}")
    first, note = _read(source / _FIRST, "sessions")
    frames = {"sessions": first}
    files, info = note.get("files"), note.get("info")
    if wrong := misfit(info):
        raise refusal(source, f"is not whole: {_FIRST} does not say how it was taken: {wrong}")
    # The names of files follow from those of frames: others would lead out of the folder.
    if not isinstance(files, dict) or files != _files(files):
        raise refusal(source, f"is not whole: {_FIRST} does not say which files it has")
    for name, file in files.items():
        path = source / file
        if not path.is_file():
            gone = "no file" if os.path.lexists(path) else "missing"
            raise refusal(source, f"is not whole: {file} is {gone}")
        if file != _FIRST:
            frames[name], its = _read(path, name)
            if its.get("snapshot") != note.get("snapshot"):
                raise refusal(path, f"is of another snapshot than {_FIRST} beside it")
    return frames, cast("SnapshotInfo", info)


def _read(path: Path, frame: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    if path.is_symlink():
        raise refusal(path, "is a link: save() writes files")
    try:
        # As one file: read_table would take folders named like a=1 for partitions.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            noted = (file.schema_arrow.metadata or {}).get(_KEY, b"{}")
            note = json.loads(noted, object_pairs_hook=_each_once)
            if not isinstance(note, dict) or "format" not in note:
                raise refusal(path, "is no file of a snapshot: save() did not write it")
            if note["format"] != FORMAT:
                advice = f"this imlib reads {FORMAT}: use the imlib that wrote it"
                raise refusal(path, f"is of format {shortened(note['format'])}; {advice}")
            table = file.read()
    except SnapshotError:
        raise
    except Exception as problem:  # at bytes that they didn't write, json and Arrow raise anything
        raise refusal(path, f"is damaged, or no Parquet file: {_line(problem)}") from problem
    if note.get("frame") != frame:
        held = f"holds the frame {shortened(note.get('frame'))}, not {shortened(frame)}"
        raise refusal(path, f"{held}: files were renamed or mixed up")
    try:
        # pandas' own note in the file carries every dtype but decimals.
        table = _restored(table, note.get("as_text", {}))
        read = table.to_pandas(
            types_mapper=lambda one: pd.ArrowDtype(one) if pa.types.is_decimal(one) else None
        )
        if [*read.columns] != table.column_names or not read.columns.is_unique:
            raise ValueError("its columns are other ones")
    except Exception as problem:  # and so does pandas at a note that it didn't write
        raise refusal(
            path, f"is damaged: what pandas noted in it cannot be used ({_line(problem)})"
        ) from problem
    return read, note


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is in it twice")
    return found


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
    return " ".join(str(problem).split())[:_LONGEST_LINE]


def _sync(path: Path, unsure: list[str]) -> None:
    """Wait until the disk has a file or folder; note why where a file system cannot tell."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as problem:
        if problem.errno not in _NO_SYNC:
            raise
        unsure.append(_line(problem))
