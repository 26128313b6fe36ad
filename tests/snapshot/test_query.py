"""snapshot.sql: exact over all frames, one SELECT, and nothing but the frames within its reach."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import imlib
from imlib.snapshot import Snapshot, query
from tests.snapshot.frames import session, snapshot, table

BIG = 2**53 + 1
EXACT = pd.DataFrame(
    {
        "id": pd.array([1, 2], dtype="int32"),
        "bigint": pd.array([BIG, None], dtype="Int64"),
        "unsigned": np.array([2**64 - 1, 0], dtype="uint64"),
        "money": pd.Series(
            [Decimal("0." + "1" * 30), None], dtype=pd.ArrowDtype(pa.decimal128(38, 30))
        ),
        "bytes": pd.Series([bytes(range(256)), None], dtype=pd.ArrowDtype(pa.large_binary())),
        "text": pd.array(["ü 👋", None], dtype="str"),
        "instant": pd.Series([pd.Timestamp("2017-12-03T03:08:53Z"), pd.NaT]).astype(
            "datetime64[us, UTC]"
        ),
        "time": pd.Series([pd.Timedelta(hours=-838), pd.NaT]).astype("timedelta64[us]"),
    }
)


@pytest.fixture
def world() -> Snapshot:
    """Give sessions of two users, and two tables."""
    rows = [session(), session(8, -(2**63), 2**63 - 1)]
    return snapshot(rows, {"exact": EXACT, "users": table("id age", (7, 30), (8, 40))})


def test_a_join_of_redis_and_the_tables(world: Snapshot) -> None:
    """Sessions join with tables, and parameters are bound."""
    found = world.sql(
        "SELECT user_id, auth_key_id, age FROM sessions JOIN users ON id = user_id WHERE age > ? "
        "ORDER BY 1",
        [35],
    )
    assert [(8, -(2**63), 40)] == list(found.itertuples(index=False, name=None))


def test_integers_beside_null_are_exact(world: Snapshot) -> None:
    """2^53+1 and NULL in one column come back as themselves, as do both ends of 64 bits."""
    found = world.sql("SELECT bigint, unsigned FROM exact ORDER BY id")
    assert [BIG, pd.NA] == list(found["bigint"])
    assert [2**64 - 1, 0] == list(found["unsigned"])
    assert ["Int64", "UInt64"] == [str(dtype) for dtype in found.dtypes]


def test_sums_and_decimals_are_exact(world: Snapshot) -> None:
    """A sum beyond 64 bits keeps every digit, and so does a DECIMAL."""
    found = world.sql("SELECT sum(unsigned) + 1 AS total, max(money) AS money FROM exact")
    assert (2**64, Decimal("0." + "1" * 30)) == (found["total"][0], found["money"][0])


def test_everything_else_comes_through(world: Snapshot) -> None:
    """Text, bytes, instants and durations are what they were, and NULL is NULL."""
    found = world.sql("SELECT bytes, text, instant, time FROM exact ORDER BY id")
    assert bytes(range(256)) == found["bytes"][0]
    assert ("ü 👋", pd.Timestamp("2017-12-03T03:08:53Z")) == (found["text"][0], found["instant"][0])
    assert (pd.Timedelta(hours=-838), "timedelta64[us]") == (
        found["time"][0],
        str(found["time"].dtype),
    )
    assert found.iloc[1].isna().all()


def test_a_decimal_that_duckdb_has_not(world: Snapshot) -> None:
    """A DECIMAL of more than 38 digits is text, to the last digit, and no other frame is lost for
    it.
    """
    wide = pd.Series([Decimal("9" * 60), None], dtype=pd.ArrowDtype(pa.decimal256(60, 0)))
    asked = snapshot([session()], {"wallet": pd.DataFrame({"wei": wide})})
    found = asked.sql("SELECT wei, (SELECT count(*) FROM sessions) AS n FROM wallet")
    assert ["9" * 60, None] == found["wei"].astype(object).where(
        found["wei"].notna(), None
    ).tolist()
    assert [1, 1] == found["n"].tolist()


def test_intervals(world: Snapshot) -> None:
    """Days and microseconds are a span of time, exact to the last; months stay what they are, of no
    one length.
    """
    found = world.sql(
        "SELECT INTERVAL 3 DAY - INTERVAL 1 MICROSECOND AS span, INTERVAL 1 MONTH AS month"
    )
    assert pd.Timedelta(3, "D") - pd.Timedelta(1, "us") == found["span"][0]
    assert pd.DateOffset(months=1, days=0, nanoseconds=0) == found["month"][0]


@pytest.mark.parametrize(
    ("nested", "expected"),
    [
        ("list(bigint ORDER BY id)", [BIG, None]),
        ("list({'n': bigint} ORDER BY id)", [{"n": BIG}, {"n": None}]),
        ("map {'n': max(bigint)}", [("n", BIG)]),
        ("[max(unsigned), NULL]", [2**64 - 1, None]),
    ],
)
def test_numbers_within_lists_and_structs_are_exact(
    world: Snapshot, nested: str, expected: Any
) -> None:
    """No integer becomes a float because it stands in a list, beside NULL or not."""
    found = world.sql(f"SELECT {nested} AS nested FROM exact")
    assert expected == found["nested"][0] == found.to_numpy()[0, 0]


def test_a_query_that_is_no_text(world: Snapshot) -> None:
    """What is no text is refused in words of ours."""
    with pytest.raises(imlib.InvalidValueError, match="given as text; this is int"):
        world.sql(7)  # type: ignore[arg-type]  # what is tested


def test_what_no_frame_can_hold_is_refused(world: Snapshot) -> None:
    """An unsigned 128-bit number would come back negative, and a year beyond 9999 as an error of
    Python's.
    """
    for query_of, said in (
        ("1::UHUGEINT", "UHUGEINT"),
        ("[md5_number('x')]", "UHUGEINT"),
        ("DATE '20000-1-1'", "year"),
    ):
        with pytest.raises(imlib.InvalidValueError, match=said) as caught:
            world.sql(f"SELECT {query_of}")
        assert "\n" not in str(caught.value)


def test_instants_are_in_utc_wherever_it_runs() -> None:
    """The hour of a report does not depend on the machine's time zone."""
    program = (
        "from tests.snapshot.frames import session, snapshot; "
        "found = snapshot([session()]).sql('SELECT reported_at, hour(reported_at) AS hour FROM "
        "sessions'); "
        "print(found['reported_at'].dtype, found['hour'][0])"
    )
    environment = os.environ | {"TZ": "America/New_York"}
    root = Path(imlib.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        cwd=root,
        check=True,
    )
    assert "datetime64[us, UTC] 3" == done.stdout.strip()


def test_empty_frames_have_types() -> None:
    """A frame without rows can be joined and compared like any other."""
    empty = snapshot([], {"exact": EXACT[:0], "users": table("id age")})
    found = empty.sql(
        "SELECT s.auth_key_id, e.bigint, e.bytes FROM sessions s JOIN exact e ON e.id = s.user_id"
    )
    assert ["Int64", "Int64", "binary[pyarrow]"] == [str(dtype) for dtype in found.dtypes]
    assert 0 == len(found)
    assert 0 == empty.sql("SELECT count(*) AS n FROM malformed WHERE key LIKE 'x%'")["n"][0]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine AS SELECT 1",
        "CREATE MACRO mine(x) AS x",
        "INSERT INTO users VALUES (1, 2)",
        "UPDATE users SET age = 1",
        "DELETE FROM users",
        "DROP VIEW users",
        "COPY users TO '{folder}/out.csv'",
        "COPY (SELECT 1) TO '{folder}/out.parquet'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET memory_limit",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "INSTALL httpfs",
        "LOAD httpfs",
        "BEGIN",
        "VACUUM",
        "CHECKPOINT",
        "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW users",
        "",
        " ; ",
        "-- SELECT 1",
    ],
)
def test_only_a_select_runs(world: Snapshot, tmp_path: Path, statement: str) -> None:
    """Whatever is no single SELECT is refused before anything of it is done."""
    with pytest.raises(
        imlib.InvalidValueError, match="runs one SELECT and nothing else; this is "
    ) as caught:
        world.sql(statement.format(folder=tmp_path))
    assert "\n" not in str(caught.value)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "reach",
    [
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM read_text('{folder}/secret.csv')",
        "SELECT * FROM read_blob('{folder}/*')",
        "SELECT * FROM read_json('{folder}/secret.csv')",
        "SELECT * FROM read_parquet('{folder}/secret.parquet')",
        "SELECT * FROM parquet_scan('https://example.org/x.parquet')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{folder}/secret.csv')",
        "SELECT * FROM '{folder}/secret.csv'",
        "SELECT * FROM '{folder}/secret.parquet'",
        "FROM sqlite_scan('{folder}/secret.db', 'users')",
        "WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone",
        "SELECT * FROM query('CREATE TABLE mine (x int)')",
        "SELECT * FROM enable_logging()",
        "SELECT getenv('HOME')",
        "SELECT * FROM here",
        "SELECT * FROM EXACT_HERE",
    ],
)
def test_a_select_reaches_nothing_else(world: Snapshot, tmp_path: Path, reach: str) -> None:
    """No file, no network, no setting and no variable of the caller's is within a query's reach."""
    here = EXACT_HERE = pd.DataFrame({"secret": [1]})  # noqa: N806 - what DuckDB would take for a table
    here.to_csv(tmp_path / "secret.csv")
    EXACT_HERE.to_parquet(tmp_path / "secret.parquet")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(imlib.InvalidValueError) as caught:
        world.sql(reach.format(folder=tmp_path))
    assert "\n" not in str(caught.value)
    assert before == sorted(path.name for path in tmp_path.iterdir())


def test_what_the_locks_leave(world: Snapshot) -> None:
    """The settings that keep a query in are the ones in force."""
    names = [
        "enable_external_access",
        "temp_directory",
        "lock_configuration",
        "autoinstall_known_extensions",
    ]
    told = world.sql(
        f"SELECT {', '.join(f'current_setting({name!r}) AS {name}' for name in names)}"
    ).iloc[0]
    assert [False, "", True, False] == list(told)


def test_an_error_is_one_line_and_helps(world: Snapshot) -> None:
    """DuckDB's words, and which tables there are."""
    with pytest.raises(imlib.InvalidValueError) as caught:
        world.sql("SELECT *\nFROM nowhere\nWHERE x")
    assert "\n" not in str(caught.value)
    assert "nowhere does not exist" in str(caught.value)
    assert str(caught.value).endswith("Tables are: sessions, sequences, malformed, exact, users")


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [("SELECT ?", None), ("SELECT ?", [1, 2]), ("SELECT 1", [object()])],
)
def test_parameters_that_do_not_fit(
    world: Snapshot, statement: str, parameters: list[Any] | None
) -> None:
    """Too few, too many, or of no type: one line."""
    with pytest.raises(imlib.InvalidValueError) as caught:
        world.sql(statement, parameters)
    assert "\n" not in str(caught.value)


def test_frames_are_left_alone(world: Snapshot) -> None:
    """A query changes no frame, and one query knows nothing of the one before."""
    before = world.tables["users"].copy()
    found = world.sql("SELECT * FROM users")
    found["age"] = 0
    pd.testing.assert_frame_equal(before, world.tables["users"])


@pytest.mark.parametrize(
    "greedy",
    [
        "SELECT range, range::text || repeat('x', 100) AS long FROM range(100_000_000)",
        "SELECT list(range) FROM range(500_000_000)",
        "SELECT a.range + b.range AS n FROM range(20_000) a, range(20_000) b ORDER BY hash(n)",
    ],
    ids=["result", "aggregate", "sort"],
)
def test_memory_stays_bounded(
    world: Snapshot, greedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result or a sort that would fill the machine ends in an error that says what to do."""
    monkeypatch.setattr(query, "LIMIT_BYTES", 100_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        imlib.InvalidValueError, match=r"larger than 100,000,000 bytes|Out of Memory|memory"
    ):
        world.sql(greedy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kilobytes


def test_nothing_is_spilt(world: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sort that does not fit fails; no file appears where the caller stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(query, "LIMIT_BYTES", 50_000_000)
    with pytest.raises(imlib.InvalidValueError):
        world.sql("SELECT range FROM range(100_000_000) ORDER BY hash(range)")
    assert [] == os.listdir(tmp_path)


def masked_world(**more: Any) -> Snapshot:
    """Give users and calls with masked columns, and members, whose own phone is not masked."""
    tokens = pd.array(["masked:1", None], dtype="str")
    users = table("id age", (7, 30), (8, 40)).assign(phone=tokens, Bio=tokens, user_id=tokens)
    calls = table("id", (7,), (8,)).assign(caller=tokens, user_id=tokens)
    members = table("id phone", (7, 49), (8, 50))
    said = {"users": {"masked": ["phone", "Bio", "user_id"]}, "calls": {"masked": ["caller"]}}
    said["calls"]["masked"].append("user_id")
    tables = {"users": users, "calls": calls, "members": members}
    return snapshot([session()], tables, said=said, **more)


@pytest.mark.parametrize(
    ("condition", "parameters"),
    [
        ("phone = '+49 170'", None),
        ("phone = 49170", None),
        ("phone <> ''", None),
        ("'+49' = phone", None),
        ("u.phone = '+49'", None),
        ("\"PHONE\" = '+49'", None),
        ("U.bio = 'x'", None),
        ("users.phone = '+49'", None),
        ("phone IN ('+49', 'masked:1')", None),
        ("phone NOT IN ('+49')", None),
        ("phone IN ['+49']", None),
        ("phone LIKE '+49%'", None),
        ("phone NOT ILIKE '%49'", None),
        ("phone ~ '49'", None),
        ("phone SIMILAR TO '49'", None),
        ("phone LIKE '+49' ESCAPE '!'", None),
        ("starts_with(phone, '+49')", None),
        ("contains(phone, '49')", None),
        ("phone BETWEEN '+49' AND '+50'", None),
        ("phone IS DISTINCT FROM '+49'", None),
        ("phone = ?", ["+49"]),
        ("phone = ANY (SELECT '+49')", None),
        ("'+49' IN (SELECT phone FROM users)", None),
        ("lower(trim(phone)) = '+49'", None),
        ("length(phone) = 6", None),
        ("CAST(phone AS VARCHAR) = '+49'", None),
        ("CASE phone WHEN '+49' THEN true END", None),
        ("age > 3 AND NOT (age = 2 OR phone = '+49')", None),
        ("u.id IN (SELECT id FROM users WHERE phone = '+49')", None),
        ("EXISTS (WITH w AS (SELECT phone AS p FROM users) SELECT 1 FROM w WHERE p = '4')", None),
        ("EXISTS (FROM (SELECT p AS q FROM (SELECT phone AS p FROM users)) WHERE q = '4')", None),
        ("EXISTS (FROM calls WHERE caller = u.phone)", None),
    ],
)
def test_a_masked_column_is_asked_for_a_value(condition: str, parameters: list[str] | None) -> None:
    """No row would be no answer: the column is masked, and the error says how to ask."""
    statement = f"SELECT id FROM Users u WHERE {condition}"
    for asked in (statement, f"({statement}) UNION ALL SELECT 1"):
        with pytest.raises(imlib.InvalidValueError, match=r"users\.\w+.*: masked") as caught:
            masked_world().sql(asked, parameters)
        assert re.search(r"unmask=\[.*'users\.(phone|bio)'\]$", str(caught.value))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "parameters", "rows"),
    [
        ("FROM users WHERE phone = 'masked:1'", None, 1),
        ("FROM users WHERE phone LIKE 'masked:%'", None, 1),
        ("FROM users WHERE phone = ?", ["masked:1"], 1),
        ("FROM users WHERE phone IN (?, NULL)", ["masked:1"], 1),
        ("FROM users WHERE phone IS NULL", None, 1),
        ("FROM users WHERE phone = NULL", None, 0),
        ("FROM users WHERE (phone IS NULL) = true", None, 1),
        ("FROM users u JOIN users v ON u.phone = v.phone", None, 1),
        ("FROM users u JOIN users v USING (phone)", None, 1),
        ("FROM users u JOIN calls c ON c.user_id = u.user_id", None, 1),
        ("SELECT age FROM users GROUP BY age HAVING count(DISTINCT phone) >= 1", None, 1),
        ("SELECT phone, 'x' FROM users WHERE age = 30", None, 1),
        ("SELECT phone || 'x' AS id FROM users WHERE users.id = 7", None, 1),
        ("FROM users u JOIN members m ON m.id = u.id WHERE m.phone = 49", None, 1),
        ("FROM members WHERE phone = 49", None, 1),
        ("FROM users WHERE id = (SELECT id FROM users WHERE phone IS NULL AND id = 8)", None, 1),
        ("FROM users WHERE phone = (SELECT phone FROM users WHERE id = 7)", None, 1),
    ],
)
def test_what_tokens_can_tell(statement: str, parameters: list[str] | None, rows: int) -> None:
    """Tokens are compared with their like; NULL, counts and other columns are asked as ever."""
    assert rows == len(masked_world().sql(statement, parameters))


def registered(asked: Snapshot, statement: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the frames that were handed to DuckDB for a statement."""
    names = {id(frame): name for name, frame in asked._frames().items()}
    seen: list[str] = []
    real = query._table

    def watched(frame: pd.DataFrame) -> pa.Table:
        seen.append(names[id(frame)])
        return real(frame)

    with monkeypatch.context() as patched:
        patched.setattr(query, "_table", watched)
        asked.sql(statement)
    return sorted(seen)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("SELECT 1", ""),
        ("FROM range(3)", ""),
        ("SELECT unnest([1])", ""),
        ("VALUES (1)", ""),
        ("FROM USERS", "users"),
        ('SELECT * FROM "Odd ""name"', 'Odd "name'),
        ("SELECT * FROM users JOIN exact USING (id)", "exact users"),
        ("SELECT * FROM users, exact WHERE users.id = exact.id", "exact users"),
        ("SELECT (SELECT max(id) FROM exact) FROM users", "exact users"),
        ("SELECT id FROM users WHERE EXISTS (SELECT 1 FROM sessions)", "sessions users"),
        ("SELECT id FROM users UNION SELECT id FROM exact", "exact users"),
        ("WITH mine AS (FROM users), two AS (FROM mine) FROM two", "users"),
        ("WITH exact AS (FROM users) FROM exact", "exact users"),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) FROM n", ""),
        ("DESCRIBE SELECT 'users' AS exact", None),
        ("SHOW TABLES", None),
        ("SELECT * FROM information_schema.tables", None),
        ("SELECT * FROM duckdb_tables()", None),
        ("SELECT * FROM query_table('users')", None),
        ("SELECT * FROM main.users", None),
        ("SELECT " + "+".join("1" * 900), None),
    ],
)
def test_only_what_is_named_is_registered(
    world: Snapshot, monkeypatch: pytest.MonkeyPatch, statement: str, named: str | None
) -> None:
    """A statement costs what its own tables cost; one that may look at others gets all."""
    asked = snapshot([session()], world.tables | {'Odd "name': table("id", (1,))})
    everything = sorted(asked._frames())
    expected = everything if named is None else [*filter(None, [named])]
    if named and '"' not in named:
        expected = named.split()
    assert expected == registered(asked, statement, monkeypatch)


ENDLESS = {
    "recursive": "WITH RECURSIVE t(n) AS (SELECT 1::HUGEINT UNION ALL SELECT n + 1 FROM t) "
    "SELECT max(n) FROM t",
    "join": "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b "
    "WHERE a.range * b.range = 7",
    "result": "SELECT a.range FROM range(10_000_000) a, range(10_000_000) b "
    "WHERE a.range * b.range = 7",
    # Calls of a function, a vector at once: DuckDB itself doesn't look up before they are done.
    "call": "SELECT count(*) FROM range(1000) "
    "WHERE regexp_matches(repeat('a', 1_000_000), '(a|aa)*b' || range)",
}


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
def test_a_timeout(world: Snapshot, endless: str) -> None:
    """A query that would not end is over at its time, and the error says so."""
    with pytest.raises(imlib.UnavailableError, match=r"took more than 0\.05 s: ask for less"):
        world.sql(endless, timeout=0.05)
    for enough in (60, float("inf"), None):
        assert 1 == world.sql("SELECT 1 AS n", timeout=enough)["n"][0]


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_none(world: Snapshot, timeout: float) -> None:
    """What is no number of seconds is refused."""
    with pytest.raises(imlib.InvalidValueError, match=r"timeout is .*: allowed are seconds"):
        world.sql("SELECT 1", timeout=timeout)


INTERRUPTED = """
import os, signal, sys, threading, time
from imlib.snapshot import query
from tests.snapshot.frames import session, snapshot

began = threading.Event()
real = query.Statement
def watched(*arguments):
    began.set()
    return real(*arguments)
query.Statement = watched

def interrupt():
    began.wait()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    snapshot([session()]).sql(sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS)
def test_an_interrupt(endless: str) -> None:
    """Ctrl-C ends a query that would not end."""
    root = Path(imlib.__file__).parents[1]
    command = [sys.executable, "-c", INTERRUPTED, endless]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert "interrupted\n" == done.stdout


def test_threads_of_the_callers_own(world: Snapshot) -> None:
    """It works in any thread, in several at once, and each gets its own answer."""
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda n: world.sql("SELECT age + ? AS n FROM users", [n]), range(20))
        assert [[30 + n, 40 + n] for n in range(20)] == [each["n"].tolist() for each in answers]


def test_the_memory_is_half_of_the_machines() -> None:
    """What a query may take follows from the machine, and is in force."""
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    assert 0 < query.LIMIT_BYTES <= half
    told = snapshot([session()]).sql("SELECT current_setting('memory_limit') AS told")["told"][0]
    number, unit = told.split()
    size = float(number) * 1024 ** ("bytes", "KiB", "MiB", "GiB", "TiB").index(unit)
    assert size == pytest.approx(query.LIMIT_BYTES, rel=0.05)


def test_too_much_memory_is_said(world: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how much there was, and what to do."""
    monkeypatch.setattr(query, "LIMIT_BYTES", 50_000_000)
    said = r"^what the query needs is larger than 50,000,000 bytes of memory, half of .*: filter"
    with pytest.raises(imlib.InvalidValueError, match=said) as caught:
        world.sql("SELECT range FROM range(100_000_000) ORDER BY hash(range)")
    assert "\n" not in str(caught.value)
