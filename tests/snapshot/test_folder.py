"""A snapshot on disk is what it was in memory, and is there whole or not at all."""

from __future__ import annotations

import contextlib
import copy
import datetime
import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import imlib
from imlib.presence import Malformed
from imlib.snapshot import Snapshot
from tests.snapshot.frames import session, snapshot, table

BIG = 2**53 + 1
EVERYTHING = pd.DataFrame(
    {
        "id": pd.array([1, 2], dtype="int32"),
        "bigint": pd.array([BIG, None], dtype="Int64"),
        "ends": pd.array([-(2**63), 2**63 - 1], dtype="int64"),
        "unsigned": np.array([0, 2**64 - 1], dtype="uint64"),
        "unsigned_null": pd.array([2**64 - 1, None], dtype="UInt64"),
        "tiny": pd.array([-128, None], dtype="Int8"),
        "money": pd.Series([Decimal("1.50"), None], dtype=pd.ArrowDtype(pa.decimal128(10, 2))),
        "digits": pd.Series(
            [Decimal("-0." + "1" * 30), None], dtype=pd.ArrowDtype(pa.decimal256(65, 30))
        ),
        "instant": pd.Series([pd.Timestamp("2017-12-03T03:08:53.000001Z"), pd.NaT]).astype(
            "datetime64[us, UTC]"
        ),
        "naive": pd.Series([pd.Timestamp("9999-12-31"), pd.NaT]).astype("datetime64[us]"),
        "time": pd.Series([datetime.timedelta(hours=-838, minutes=-59), None]).astype(
            "timedelta64[us]"
        ),
        "bytes": pd.Series([bytes(range(256)), None], dtype=pd.ArrowDtype(pa.large_binary())),
        "object": pd.Series([b"\x00\xff", None], dtype=object),
        "text": pd.array(["Привет 👋\x00", None], dtype="str"),
        "empty": pd.array(["", ""], dtype="str"),
        "float": pd.array([0.1, None], dtype="Float64"),
        "nan": [float("nan"), float("-inf")],
        "bool": [True, False],
        "select": pd.array([1, 2], dtype="int16"),
        "a.b/c": pd.array([1, 2], dtype="int8"),
    }
)
ODD_NAMES = [
    "a/b",
    "..",
    ".",
    "ünïcode ☕",
    "sessions",
    "Sessions",
    "table_sessions",
    "users",
    "USERS",
    "a b",
    "%2F",
]
ODD_NAMES += ["", "x" * 64, "漢" * 64, "漢" * 63 + "字", "a'b\"c", "select"]


def assert_same(expected: Snapshot, actual: Snapshot) -> None:
    """Compare frames with their dtypes, and the facts."""
    assert list(expected.tables) == list(actual.tables)
    for name in ("sessions", "sequences", "malformed"):
        pd.testing.assert_frame_equal(getattr(expected, name), getattr(actual, name))
    for name, frame in expected.tables.items():
        pd.testing.assert_frame_equal(frame, actual.tables[name])
    assert expected.info == actual.info


def saved(folder: Path, tables: dict[str, pd.DataFrame] | None = None, **info: Any) -> Snapshot:
    """Save a snapshot and return it."""
    one = snapshot([session()], tables, **info)
    from imlib.snapshot.snapshot import frame_names

    one.info["table_of"] = frame_names(one.tables)
    one.save(folder)
    return one


@pytest.mark.parametrize(
    "rows", [EVERYTHING, EVERYTHING[:0], EVERYTHING[1:].reset_index(drop=True)]
)
def test_every_dtype_comes_back(rows: pd.DataFrame, tmp_path: Path) -> None:
    """Values, widths, NULLs and dtypes survive, in a frame without rows and in one of NULLs as
    well.
    """
    typed = (
        rows.drop(columns="object") if len(rows) < 2 else rows
    )  # an object column without a value has no type
    assert_same(
        saved(tmp_path / "one", {"everything": typed}), imlib.Snapshot.load(tmp_path / "one")
    )


def test_pandas_reads_a_file_by_itself(tmp_path: Path) -> None:
    """No imlib is needed to read a table, with its widths and NULLs."""
    saved(tmp_path / "one", {"everything": EVERYTHING})
    alone = pd.read_parquet(tmp_path / "one" / "everything.parquet")
    assert [BIG, pd.NA] == list(alone["bigint"])
    assert "uint64" == str(alone["unsigned"].dtype)


def test_the_facts_are_inside(tmp_path: Path) -> None:
    """The file of the sessions carries the whole info: there is nothing beside the
    Parquet files.
    """
    one = saved(
        tmp_path / "one", {"users": table("id", (1,))}, taken_at=1512270533.25, incomplete=None
    )
    assert {"sessions.parquet", "sequences.parquet", "malformed.parquet", "users.parquet"} == {
        path.name for path in (tmp_path / "one").iterdir()
    }
    metadata = pq.read_schema(tmp_path / "one" / "sessions.parquet").metadata
    assert one.info == json.loads(metadata[b"imlib"])["info"]


def test_a_file_of_another_snapshot(tmp_path: Path) -> None:
    """Tokens of two snapshots must not be joined: a file that was copied from one into the other is
    noticed.
    """
    for name in ("one", "two"):
        saved(tmp_path / name, {"users": table("id", (1,))})
    (tmp_path / "two" / "users.parquet").replace(tmp_path / "one" / "users.parquet")
    with pytest.raises(
        imlib.SnapshotError, match=r"users\.parquet is of another snapshot than sessions\.parquet"
    ):
        imlib.Snapshot.load(tmp_path / "one")


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
def test_nobody_else_may_read_it(tmp_path: Path, umask: int) -> None:
    """Sessions tell who is where: folder and files are their owner's, whatever the umask."""
    before = os.umask(umask)
    try:
        saved(tmp_path / "one", {"users": table("id", (1,))})
    finally:
        os.umask(before)
    assert 0o700 == (tmp_path / "one").stat().st_mode & 0o777
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (tmp_path / "one").iterdir()}


def hidden(folder: Path) -> list[str]:
    """Return the names of what is hidden in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_a_dead_writer_left_is_swept(tmp_path: Path) -> None:
    """The next save of this name removes what no living process holds, and nothing else's."""
    left = [".one.imlib-left", ".two.imlib-left", ".one.imlib", ".one"]
    for name in left:
        (tmp_path / name).mkdir()
        (tmp_path / name / "users.parquet").write_text("x")
    (tmp_path / ".one.imlib-file").write_text("x")
    (tmp_path / ".one.imlib-link").symlink_to(tmp_path / ".two.imlib-left")
    saved(tmp_path / "one")
    kept = [*left[1:], ".one.imlib-file", ".one.imlib-link"]
    assert sorted(kept) == hidden(tmp_path)
    assert ["users.parquet"] == os.listdir(tmp_path / ".two.imlib-left")


def test_a_living_writer_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one process writes, another saves the same name; the slower one is refused."""
    real = pq.write_table
    inner: list[str] = []

    def twice(*arguments: Any, **options: Any) -> None:
        if not inner:
            inner.extend(hidden(tmp_path))
            saved(tmp_path / "one", {"users": table("id", (7,))})
            inner.extend(hidden(tmp_path))
        real(*arguments, **options)

    monkeypatch.setattr(pq, "write_table", twice)
    with pytest.raises(imlib.SnapshotError, match="could not be saved as"):
        saved(tmp_path / "one")
    assert 2 == len(inner)
    assert inner[0] == inner[1]
    assert inner[0].startswith(".one.imlib-")
    assert [7] == imlib.Snapshot.load(tmp_path / "one").tables["users"]["id"].tolist()
    assert [] == hidden(tmp_path)


@pytest.mark.parametrize("name", ["x" * 255, "漢" * 85, "[a]*?", "-rf", "a\nb"])
def test_names_that_a_folder_can_have(tmp_path: Path, name: str) -> None:
    """Whatever a folder may be called, it is saved under that name."""
    for at in ("a", "b"):
        assert_same(saved(tmp_path / at / name), imlib.Snapshot.load(tmp_path / at / name))
        assert [name] == os.listdir(tmp_path / at)


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM]
)
@pytest.mark.parametrize("what", ["folders", "files"])
def test_a_file_system_that_cannot_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    """The snapshot is saved all the same, and the warning says what isn't promised."""
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode) == (what == "folders"):
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.warns(imlib.FallbackWarning, match="one is saved; .* if the power fails") as told:
        one = saved(tmp_path / "one")
    assert os.strerror(number) in str(told[0].message)
    assert 1 == len(told)
    assert_same(one, imlib.Snapshot.load(tmp_path / "one"))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What may be lost is not saved: the error says so, and nothing is left."""

    def fsync(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(imlib.SnapshotError, match="could not be saved"):
        saved(tmp_path / "one")
    assert [] == os.listdir(tmp_path)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks nobody can tell a dead writer's folder: it is saved, and nothing is swept."""

    def flock(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    (tmp_path / ".one.imlib-left").mkdir()
    assert_same(saved(tmp_path / "one"), imlib.Snapshot.load(tmp_path / "one"))
    assert [".one.imlib-left"] == hidden(tmp_path)


def test_odd_names_of_tables(tmp_path: Path) -> None:
    """Any name that a database allows makes a file of its own, and comes back; those of Redis's
    frames as well.
    """
    tables = {name: table("id", (at,)) for at, name in enumerate(ODD_NAMES)}
    one = saved(tmp_path / "one", tables)
    assert_same(one, imlib.Snapshot.load(tmp_path / "one"))
    files = [path.name.casefold() for path in (tmp_path / "one").iterdir()]
    assert len(ODD_NAMES) + 3 == len(set(files))
    assert [tmp_path / "one"] == list(tmp_path.iterdir())


def test_sql_tells_odd_names_apart() -> None:
    """Each of them is a table of its own in SQL too, where case makes no difference."""
    one = snapshot([session()], {name: table("id", (at,)) for at, name in enumerate(ODD_NAMES)})
    for frame, name in zip(list(one._frames())[3:], ODD_NAMES, strict=True):
        quoted = frame.replace('"', '""')
        assert ODD_NAMES.index(name) == one.sql(f'SELECT id FROM "{quoted}"')["id"][0]
    assert 7 == one.sql("SELECT user_id FROM sessions")["user_id"][0]


def test_a_folder_that_looks_like_a_partition(tmp_path: Path) -> None:
    """A path like day=7 adds no column."""
    assert_same(saved(tmp_path / "day=7" / "one"), imlib.Snapshot.load(tmp_path / "day=7" / "one"))


@pytest.mark.parametrize("kind", ["folder", "full folder", "file", "dangling link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    """What exists is left as it is, and so is its surroundings."""
    target = tmp_path / "one"
    if kind == "file":
        target.write_text("mine")
    elif kind == "dangling link":
        target.symlink_to("nowhere")
    else:
        target.mkdir()
        if kind == "full folder":
            (target / "mine").write_text("mine")
    with pytest.raises(
        imlib.SnapshotError, match="one exists: a snapshot is saved under a new name"
    ):
        saved(target)
    assert [target] == list(tmp_path.iterdir())
    assert not (target / "sessions.parquet").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """The error is one line, and names the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(imlib.SnapshotError, match=r"could not be saved as .*file/one: ") as caught:
        saved(tmp_path / "file" / "one")
    assert "\n" not in str(caught.value)


def test_what_parquet_cannot_hold(tmp_path: Path) -> None:
    """A frame that somebody put together with a mixed column: one line, and nothing is left."""
    mixed = pd.DataFrame({"id": [1, 2], "mixed": pd.Series([1, "x"], dtype=object)})
    with pytest.raises(imlib.SnapshotError, match="could not be saved") as caught:
        saved(tmp_path / "one", {"mixed": mixed})
    assert "\n" not in str(caught.value)
    assert [] == list(tmp_path.iterdir())


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pyarrow.parquet as pq
from tests.snapshot.frames import session, snapshot, table

folder, after = Path(sys.argv[2]), sys.argv[3] == "after"
one = snapshot([session()], {"users": table("id", (1,)), "chats": table("id", (1,))})
one.info["table_of"] = {"users": "users", "chats": "chats"}
count = fatal = 0

def watched(name, module):
    real = getattr(module, name)
    def step(*args, **options):
        global count
        count += 1
        if count == fatal and not after:
            os._exit(9)
        try:
            return real(*args, **options)
        finally:
            if count == fatal:
                os._exit(9)
    setattr(module, name, step)

for name in ("mkdir", "open", "chmod", "fsync", "close", "rename"):
    watched(name, os)
watched("write_table", pq)
status = 1
while status:
    fatal += 1
    child = os.fork()
    if not child:
        one.save(folder / str(fatal))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), status
print(fatal)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_step_it_is_whole_or_absent(tmp_path: Path, moment: str) -> None:
    """Whoever is killed while saving, before or after any call of the system, leaves a whole
    snapshot or none.
    """
    root = Path(imlib.__file__).parents[1]
    arguments = [sys.executable, "-c", KILLED, str(root), str(tmp_path), moment]
    # A process of its own forks one child a step: here other tests' threads would be forked along.
    last = int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    whole = [number for number in range(1, last + 1) if (tmp_path / str(number)).exists()]
    assert last > 20
    assert list(range(whole[0], last + 1)) == whole
    assert last - whole[0] <= 6  # all but what comes after the rename
    for number in range(1, last + 1):
        # The next save of that name leaves nothing of the one that was killed.
        if number < whole[0]:
            saved(tmp_path / str(number))
    assert [] == hidden(tmp_path)
    for number in range(1, whole[0]):
        shutil.rmtree(tmp_path / str(number))
    for number in whole:
        assert ["chats", "users"] == sorted(imlib.Snapshot.load(tmp_path / str(number)).tables)
    with pytest.raises(imlib.SnapshotError, match="holds no snapshot"):
        imlib.Snapshot.load(tmp_path / str(whole[0] - 1))


def broken(folder: Path, how: str) -> None:
    """Break a snapshot that was saved."""
    users, sessions = folder / "users.parquet", folder / "sessions.parquet"
    if how == "missing":
        users.unlink()
    elif how == "cut short":
        users.write_bytes(users.read_bytes()[:-20])
    elif how == "no Parquet":
        users.write_text("hello")
    elif how == "not ours":
        pd.DataFrame({"id": [1]}).to_parquet(users)
    elif how == "another frame's":
        users.write_bytes((folder / "malformed.parquet").read_bytes())
    elif how == "first missing":
        sessions.unlink()
    elif how == "first another frame's":
        sessions.write_bytes(users.read_bytes())
    else:
        file = sessions if how == "newer" else users
        read = pq.read_table(file)
        note = json.loads(read.schema.metadata[b"imlib"]) | {"format": 2}
        pq.write_table(
            read.replace_schema_metadata({**read.schema.metadata, b"imlib": json.dumps(note)}), file
        )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"/one is not whole: users\.parquet is missing$"),
        ("cut short", r"/one/users\.parquet is damaged, or no Parquet file: "),
        ("no Parquet", r"/one/users\.parquet is damaged, or no Parquet file: "),
        ("not ours", r"/one/users\.parquet is no file of a snapshot: save\(\) did not write it$"),
        ("another frame's", r"/one/users\.parquet holds the frame 'malformed', not 'users'"),
        ("first missing", r"/one holds no snapshot: sessions\.parquet is not there$"),
        (
            "first another frame's",
            r"/one/sessions\.parquet holds the frame 'users', not 'sessions'",
        ),
        (
            "newer",
            r"/one/sessions\.parquet is of format 2; this imlib reads 1: use the imlib that wrote "
            r"it$",
        ),
        ("one newer", r"/one/users\.parquet is of format 2; this imlib reads 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, how: str, message: str) -> None:
    """A folder that cannot be read whole is refused in one line that names the file."""
    saved(tmp_path / "one", {"users": table("id", (1,))})
    broken(tmp_path / "one", how)
    with pytest.raises(imlib.SnapshotError, match=message) as caught:
        imlib.Snapshot.load(tmp_path / "one")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["sessions.parquet", "users.parquet"])
@pytest.mark.parametrize(
    "changed",
    [
        b"[]",
        b"5",
        b"{",
        b"\xff",
        b"{}",
        b'{"frame": "users"}',
        b'{"format": 1}',
        b'{"format": 1, "frame": "sessions"}',
        b'{"format": 1, "frame": "sessions", "info": null, "files": {}}',
        b'{"format": 1, "frame": "sessions", "info": {}, "files": {"users": "users.parquet"}}',
        b'{"format": 1, "format": 1, "frame": "users"}',
        b"[" * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"format": 1, "frame": "sessions", "info": {"tables": ' + b'{"a":' * 200_000,
        b'{"format": ' + b"9" * 5_000 + b"}",
        b'{"format": 1' + b"0" * 4_000 + b"}",
        b'{"format": 1, "frame": "\x1b[31m\n' + b"x" * 100_000 + b'"}',
        b'{"format": NaN, "frame": "users"}',
    ],
)
def test_notes_that_nobody_wrote(tmp_path: Path, file: str, changed: bytes) -> None:
    """Metadata that is damaged or another's is an error in one line, whatever its shape."""
    saved(tmp_path / "one", {"users": table("id", (1,))})
    read = pq.read_table(tmp_path / "one" / file)
    pq.write_table(
        read.replace_schema_metadata({**read.schema.metadata, b"imlib": changed}),
        tmp_path / "one" / file,
    )
    with pytest.raises(imlib.SnapshotError, match=r"/one\b") as caught:
        imlib.Snapshot.load(tmp_path / "one")
    assert "\n" not in str(caught.value)


FILE_NAMES = ["../users.parquet", "/etc/passwd", "a/../users.parquet", "", ".", "..", "users", 7]
FILE_NAMES += [None, ["users.parquet"], "USERS.parquet", "sessions.parquet", "users.parquet\0", {}]


@pytest.mark.parametrize("name", FILE_NAMES, ids=repr)
def test_files_of_other_names(tmp_path: Path, name: Any) -> None:
    """Metadata leads to no file but those that save() writes, inside of the folder."""
    saved(tmp_path / "one", {"users": table("id", (1,))})
    shutil.copy(tmp_path / "one" / "users.parquet", tmp_path / "users.parquet")
    rewrite(tmp_path / "one", lambda note: note["files"].update(users=name))
    with pytest.raises(imlib.SnapshotError, match="does not say which files") as caught:
        imlib.Snapshot.load(tmp_path / "one")
    assert "\n" not in str(caught.value)


def rewrite(folder: Path, change: Callable[[Any], object]) -> None:
    """Change the note of a snapshot that was saved."""
    file = folder / "sessions.parquet"
    read = pq.read_table(file)
    note = json.loads(read.schema.metadata[b"imlib"])
    change(note)
    metadata = {**read.schema.metadata, b"imlib": json.dumps(note).encode()}
    pq.write_table(read.replace_schema_metadata(metadata), file)


def paths(part: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the way to every part of a note."""
    yield at
    inner = dict(enumerate(part)) if isinstance(part, list) else part
    for key, value in inner.items() if isinstance(inner, dict) else ():
        yield from paths(value, (*at, key))


def test_every_fact_of_a_wrong_kind(tmp_path: Path) -> None:
    """Whatever is wrong in metadata, or missing: it is a SnapshotError in one line, or a snapshot
    that works.
    """
    tables = {name: table("id", (1,)) for name in ("users", "messages")}
    more = {"where": ["users"], "user_ids": [7], "rows": {"users": 1}, "incomplete": None}
    more |= {"left_out": {"a": "b"}, "taken_at": 1.5, "never_expire": [7], "malformed_not_kept": 1}
    saved(tmp_path / "one", tables, **more)
    whole = pq.read_table(tmp_path / "one" / "sessions.parquet")
    note = json.loads(whole.schema.metadata[b"imlib"])
    note["info"]["tables"]["messages"] |= {"unreadable": [1], "unreadable_more": 0}
    refused = 0
    for way in [*paths(note)][1:]:
        for value in (GONE, None, True, 10**4000, "x", [[7]], {"x": {}}):
            changed = copy.deepcopy(note)
            part = changed
            for key in way[:-1]:
                part = part[key]
            if value is GONE:
                del part[way[-1]]
            else:
                part[way[-1]] = value
            metadata = {**whole.schema.metadata, b"imlib": json.dumps(changed).encode()}
            pq.write_table(
                whole.replace_schema_metadata(metadata), tmp_path / "one" / "sessions.parquet"
            )
            try:
                loaded = imlib.Snapshot.load(tmp_path / "one")
            except imlib.SnapshotError as error:
                refused += 1
                assert "\n" not in str(error)  # noqa: PT017 - it may load, or be refused so
                assert len(str(error)) < 1_000 + len(str(tmp_path))  # noqa: PT017 - as above
                continue
            assert "<Snapshot" in repr(loaded)
            assert "<table>" in loaded._repr_html_()
            assert loaded.audit() is not None
            assert "<Difference" in repr(loaded.diff(loaded))
            assert 1 == len(loaded.sql("FROM users"))
    assert refused > 100


GONE = object()


@pytest.mark.parametrize("file", ["sessions.parquet", "users.parquet"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "dangling link", "socket", "device"])
def test_what_is_no_file(tmp_path: Path, file: str, kind: str) -> None:
    """It is refused before it is opened: a FIFO would be waited for, and a link leads elsewhere."""
    saved(tmp_path / "one", {"users": table("id", (1,))})
    path = tmp_path / "one" / file
    shutil.move(path, tmp_path / file)
    with contextlib.ExitStack() as stack:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            at = stack.enter_context(socket.socket(socket.AF_UNIX))
            stack.callback(os.chdir, os.getcwd())
            os.chdir(path.parent)
            at.bind(file)
        else:
            targets = {"link": f"{tmp_path / file}", "device": "/dev/zero"}
            path.symlink_to(targets.get(kind, "nowhere"))
        with pytest.raises(
            imlib.SnapshotError, match=r"one.* (is a link|is no file|no snapshot|is missing)"
        ):
            imlib.Snapshot.load(tmp_path / "one")


@pytest.mark.parametrize("frame", ["sessions", "sequences", "malformed"])
@pytest.mark.parametrize("change", ["column gone", "other dtype", "column twice", "cut short"])
def test_another_schema(tmp_path: Path, frame: str, change: str) -> None:
    """The frames that every snapshot has have their columns, or they are refused."""
    odd = Malformed(b"online_7", None, None, "why")
    saved(tmp_path / "one", malformed=[odd], sequences=({"7": 1},) * 3)
    path = tmp_path / "one" / f"{frame}.parquet"
    read = pq.read_table(path)
    first = read.column_names[0]
    if change == "cut short":
        os.truncate(path, path.stat().st_size // 2)
    elif change == "column gone":
        pq.write_table(read.drop_columns([first]), path)
    elif change == "column twice":
        pq.write_table(read.append_column(first, read[first]), path)
    else:
        other = pa.array([datetime.date(2000, 1, 1)] * len(read))
        changed = read.drop_columns([first]).append_column(first, other)
        ours = {b"imlib": read.schema.metadata[b"imlib"]}  # and no note of pandas
        pq.write_table(changed.replace_schema_metadata(ours), path)
    with pytest.raises(imlib.SnapshotError, match="one") as caught:
        imlib.Snapshot.load(tmp_path / "one")
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 1 << 20), flipped=st.binary(min_size=1, max_size=4), cut=st.booleans())
def test_damage_anywhere(
    tmp_path_factory: pytest.TempPathFactory, at: int, flipped: bytes, cut: bool
) -> None:
    """A file whose bytes are damaged anywhere is refused, or what it says is what was saved."""
    folder = tmp_path_factory.mktemp("damaged")
    one = saved(folder / "one", {"users": table("id age", *((n, n % 7) for n in range(100)))})
    path = folder / "one" / ("users.parquet" if at % 2 else "sessions.parquet")
    content = bytearray(path.read_bytes())
    at %= len(content)
    content[at : len(content) if cut else at + len(flipped)] = flipped
    path.write_bytes(content)
    try:
        loaded = imlib.Snapshot.load(folder / "one")
    except imlib.SnapshotError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both are allowed
    else:
        assert one.info["tables"] == loaded.info["tables"]


def test_the_line_ends_of_windows(tmp_path: Path) -> None:
    """A clone that would translate line ends has every file as it was committed, byte for byte."""
    root = Path(imlib.__file__).parents[1]
    if not (root / ".git").exists():
        pytest.skip("no git checkout: what is committed is asked of git")

    def git(*words: str, given: str | None = None, at: Path = tmp_path) -> str:
        command = ["git", "-c", "core.quotePath=off", *words]
        done = subprocess.run(
            command, cwd=at, capture_output=True, text=True, check=True, input=given
        )
        return done.stdout

    git("clone", "-q", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", str(root), "clone")
    listed = [
        line.split(maxsplit=3) for line in git("ls-files", "-s", at=tmp_path / "clone").splitlines()
    ]
    names = [name for mode, _, _, name in listed if mode.startswith("100")]
    hashes = git(
        "hash-object",
        "--no-filters",
        "--stdin-paths",
        given="\n".join(names),
        at=tmp_path / "clone",
    )
    assert len(names) > 200
    assert [blob for mode, blob, _, _ in listed if mode.startswith("100")] == hashes.split()


@pytest.mark.parametrize("changed", [b"{", b"{}", b"[]"])
def test_a_note_of_pandas_that_is_damaged(tmp_path: Path, changed: bytes) -> None:
    """So is what pandas left in a file."""
    saved(tmp_path / "one", {"users": table("id", (1,))})
    file = tmp_path / "one" / "users.parquet"
    read = pq.read_table(file)
    pq.write_table(read.replace_schema_metadata({**read.schema.metadata, b"pandas": changed}), file)
    with pytest.raises(imlib.SnapshotError, match=r"users\.parquet is damaged: ") as caught:
        imlib.Snapshot.load(tmp_path / "one")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_names_that_no_folder_can_have(tmp_path: Path, name: str) -> None:
    """They are refused in one line, for saving and for loading."""
    with pytest.raises(imlib.SnapshotError, match="could not be saved") as caught:
        saved(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert [] == list(tmp_path.iterdir())
    with pytest.raises(imlib.SnapshotError, match=r"cannot be read|holds no snapshot"):
        imlib.Snapshot.load(tmp_path / name)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    """Damage in the middle of the data is an error, not a wrong number."""
    saved(tmp_path / "one", {"users": pd.DataFrame({"id": range(10_000)})})
    file = tmp_path / "one" / "users.parquet"
    content = bytearray(file.read_bytes())
    content[2_000] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(imlib.SnapshotError, match=r"users\.parquet is damaged"):
        imlib.Snapshot.load(tmp_path / "one")


def test_what_a_deployment_held_comes_back(tmp_path: Path) -> None:
    """A real snapshot of the sample world survives to the last fact; os.PathLike and str both name
    a folder.
    """
    from imlib.sample import NOW

    with imlib.connect(
        "embedded://", "embedded://", scratch=True, clock=imlib.ManualClock(NOW)
    ) as deployment:
        deployment.load_sample()
        taken = deployment.snapshot()
    taken.save(os.fspath(tmp_path / "a" / "b"))
    assert_same(taken, imlib.Snapshot.load(tmp_path / "a" / "b"))
