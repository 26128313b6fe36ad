"""What tables hold arrives in frames as what it is, or the snapshot says which column it could not
carry.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imlib.snapshot.description import ZERO_DATE, held_by_arrow
from imlib.snapshot.mysql_protocol import BinaryCursor
from imlib.snapshot.tables import TablesRead
from tests.models.stack import open_stack
from tests.private_servers.mariadb import PrivateMariaDB
from tests.snapshot.reading import read_tables

EVERY_BYTE = bytes(range(256))
QUOTES = "'\"\\,;\t\n\0?%s:x"
HEX = EVERY_BYTE.hex()
LIMIT = pd.Timedelta(838 * 3600 + 59 * 60 + 59, unit="s")

# Column, pandas dtype where NULL is allowed, where not, values in SQL, values as Python has them.
MARIADB: list[tuple[str, str, str, list[str], list[Any]]] = [
    ("tinyint", "Int8", "int8", ["-128", "127"], [-128, 127]),
    ("tinyint(1)", "Int8", "int8", ["0", "2"], [0, 2]),
    ("tinyint unsigned", "UInt8", "uint8", ["0", "255"], [0, 255]),
    ("smallint", "Int16", "int16", ["-32768", "32767"], [-32768, 32767]),
    ("smallint unsigned", "UInt16", "uint16", ["0", "65535"], [0, 65535]),
    ("mediumint", "Int32", "int32", ["-8388608", "8388607"], [-8388608, 8388607]),
    ("mediumint unsigned", "UInt32", "uint32", ["0", "16777215"], [0, 16777215]),
    ("int", "Int32", "int32", ["-2147483648", "2147483647"], [-(2**31), 2**31 - 1]),
    ("int zerofill", "UInt32", "uint32", ["0", "4294967295"], [0, 2**32 - 1]),
    (
        "bigint",
        "Int64",
        "int64",
        ["-9223372036854775808", "9007199254740993"],
        [-(2**63), 2**53 + 1],
    ),
    (
        "bigint unsigned",
        "UInt64",
        "uint64",
        ["9007199254740993", "18446744073709551615"],
        [2**53 + 1, 2**64 - 1],
    ),
    ("year", "UInt16", "uint16", ["0", "2155"], [0, 2155]),
    ("bit(1)", "UInt8", "uint8", ["b'0'", "b'1'"], [0, 1]),
    ("bit(9)", "UInt16", "uint16", ["b'1'", "b'100000001'"], [1, 257]),
    ("bit(64)", "UInt64", "uint64", ["0", "18446744073709551615"], [0, 2**64 - 1]),
    ("float", "Float32", "float32", ["0.1", "16777217"], [float(np.float32(0.1)), 16777216.0]),
    (
        "double",
        "Float64",
        "float64",
        ["1e0/3", "-1.7976931348623157e308"],
        [1 / 3, -1.7976931348623157e308],
    ),
    (
        "decimal(5,0)",
        "decimal128(5, 0)[pyarrow]",
        "",
        ["-99999", "0"],
        [Decimal(-99999), Decimal(0)],
    ),
    (
        "decimal(10,2) unsigned",
        "decimal128(10, 2)[pyarrow]",
        "",
        ["12.5", "0"],
        [Decimal("12.50"), Decimal("0.00")],
    ),
    (
        "decimal(9,3) zerofill",
        "decimal128(9, 3)[pyarrow]",
        "",
        ["1.5", "0"],
        [Decimal("1.500"), Decimal("0.000")],
    ),
    (
        "decimal(65,30)",
        "decimal256(65, 30)[pyarrow]",
        "",
        [f"-{'9' * 35}.{'1' * 30}", "0.000000000000000000000000000001"],
        [Decimal(f"-{'9' * 35}.{'1' * 30}"), Decimal("1e-30")],
    ),
    (
        "date",
        "datetime64[us]",
        "",
        ["'9999-12-31'", "'0000-00-00'"],
        [pd.Timestamp("9999-12-31"), pd.NaT],
    ),
    (
        "datetime",
        "datetime64[us]",
        "",
        ["'2016-02-29 23:59:59'", "0"],
        [pd.Timestamp("2016-02-29 23:59:59"), pd.NaT],
    ),
    (
        "datetime(6)",
        "datetime64[us]",
        "",
        ["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'"],
        [pd.Timestamp("1000-01-01 00:00:00.000001"), pd.Timestamp("9999-12-31 23:59:59.999999")],
    ),
    (
        "timestamp",
        "datetime64[us, UTC]",
        "",
        ["'2038-01-19 03:14:07'", "'0000-00-00'"],
        [pd.Timestamp("2038-01-19 03:14:07", tz="UTC"), pd.NaT],
    ),
    ("time", "timedelta64[us]", "", ["'838:59:59'", "'-838:59:59'"], [LIMIT, -LIMIT]),
    (
        "time(6)",
        "timedelta64[us]",
        "",
        ["'00:00:00'", "'-00:00:00.000001'"],
        [pd.Timedelta(0), -pd.Timedelta(1, "us")],
    ),
    ("char(3)", "str", "", ["''", "'abc'"], ["", "abc"]),
    (
        "varchar(300)",
        "str",
        "",
        [f"x'{QUOTES.encode().hex()}'", f"repeat('😀', {251})"],
        [QUOTES, "😀" * 251],
    ),
    ("longtext", "str", "", ["''", "repeat('ab', 40000)"], ["", "ab" * 40000]),
    ("varchar(9) character set latin1", "str", "", ["'é'", "''"], ["é", ""]),
    ("enum('a','b')", "str", "", ["'b'", "'a'"], ["b", "a"]),
    ("set('x','y')", "str", "", ["'x,y'", "''"], ["x,y", ""]),
    ("json", "str", "", ["'{\"a\": [1, null]}'", "'\"\"'"], ['{"a": [1, null]}', '""']),
    (
        "uuid",
        "str",
        "",
        [f"'{'0' * 8}-0000-0000-0000-{'f' * 12}'"] * 2,
        [f"{'0' * 8}-0000-0000-0000-{'f' * 12}"] * 2,
    ),
    ("blob", "large_binary[pyarrow]", "", [f"x'{HEX}'", "''"], [EVERY_BYTE, b""]),
    (
        "longblob",
        "large_binary[pyarrow]",
        "",
        [f"repeat(x'{HEX}', 300)", "''"],
        [EVERY_BYTE * 300, b""],
    ),
    ("binary(4)", "large_binary[pyarrow]", "", ["'ab'", "''"], [b"ab\0\0", bytes(4)]),
    (
        "point",
        "large_binary[pyarrow]",
        "",
        ["point(0,0)"] * 2,
        [bytes(4) + b"\1\1" + bytes(19)] * 2,
    ),
]

# Column, pandas dtype, values for the driver, values in the frame, the reason if it could not be
# carried as declared.
SQLITE: list[tuple[str, str, list[Any], list[Any], str]] = [
    ("integer", "Int64", [-(2**63), 2**53 + 1], [-(2**63), 2**53 + 1], ""),
    ("bigint", "Int64", [0, 2**63 - 1], [0, 2**63 - 1], ""),
    ("boolean", "Int64", [0, 1], [0, 1], ""),
    ("real", "Float64", [1 / 3, math.inf], [1 / 3, math.inf], ""),
    ("decimal(20,2)", "Float64", [0.1, 7], [0.1, 7.0], ""),
    ("varchar(9)", "str", ["", "😀" + QUOTES], ["", "😀" + QUOTES], ""),
    ("json", "str", ['{"a":1}', "[]"], ['{"a":1}', "[]"], ""),
    ("time", "str", ["838:59:59", ""], ["838:59:59", ""], ""),
    ("blob", "large_binary[pyarrow]", [EVERY_BYTE, b""], [EVERY_BYTE, b""], ""),
    ("", "large_binary[pyarrow]", [EVERY_BYTE, b""], [EVERY_BYTE, b""], ""),
    (
        "date",
        "datetime64[us]",
        ["9999-12-31", "0000-00-00"],
        [pd.Timestamp("9999-12-31"), pd.NaT],
        ZERO_DATE.reason,
    ),
    (
        "timestamp",
        "datetime64[us, UTC]",
        ["2017-12-03 03:08:53.000001", "0000-00-00 00:00:00"],
        [pd.Timestamp("2017-12-03 03:08:53.000001", tz="UTC"), pd.NaT],
        ZERO_DATE.reason,
    ),
    ("int", "str", [7, "seven"], ["7", "'seven'"], "holds str, and"),
    ("bigint", "str", [7, 1e300], ["7", "1e+300"], "holds float, and"),
    ("text", "str", ["x", b"\xff"], ["'x'", r"b'\xff'"], "holds bytes, and"),
    (
        "decimal(20,0)",
        "str",
        [2**53 + 1, 0.5],
        ["9007199254740993", "0.5"],
        "holds what no double can",
    ),
    (
        "datetime",
        "str",
        ["2017-00-00", "x"],
        ["'2017-00-00'", "'x'"],
        "holds what no timestamp[us] can",
    ),
]


def check_parquet(frame: pd.DataFrame) -> None:
    """Check that values and dtypes are the same after Parquet."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), file)
    pd.testing.assert_frame_equal(frame, pq.read_table(file).to_pandas(types_mapper=held_by_arrow))


def read(url: str, **options: Any) -> TablesRead:
    """Read everything from a database, nothing of table t masked."""
    with open_stack(url, tables_too=False) as stack:
        listed = read_tables(stack.deployment)
        masked = [
            f"{name}.{column}"
            for name, facts in listed.info["tables"].items()
            for column in facts["masked"]
        ]
        return read_tables(stack.deployment, unmask=masked, **options)


def values(column: Iterable[Any]) -> list[Any]:
    """Return a column's values, missing ones as None."""
    return [
        None if value is None or value is pd.NaT or value is pd.NA or value != value else value
        for value in column
    ]


def test_every_type_of_mariadb(mariadb: PrivateMariaDB) -> None:
    """Both ends of every width, NULL beside 2^53+1, zero dates, blobs, emoji: each value is what it
    was.
    """
    url = mariadb.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    columns = ", ".join(f"c{at} {one[0]} NULL" for at, one in enumerate(MARIADB))
    required = ", ".join(f"c{at} {one[0]} NOT NULL" for at, one in enumerate(MARIADB))
    rows = [", ".join(one[3][row] for one in MARIADB) for row in (0, 1)]
    mariadb.run(
        f"CREATE TABLE t (id int PRIMARY KEY, {columns});\n"
        f"INSERT INTO t VALUES (1, {rows[0]}), (3, {rows[1]});\n"
        "INSERT INTO t (id) VALUES (2);\nCREATE TABLE empty LIKE t;\n"
        f"CREATE TABLE required ({required});\n"
        f"INSERT INTO required VALUES ({rows[0]}), ({rows[1]})",
        name,
    )
    found = read(url)
    assert {} == found.info["left_out"]
    frame, required_frame = found.frames["t"], found.frames["required"]
    assert [1, 2, 3] == frame["id"].tolist()
    for at, (declared, dtype, required_dtype, _, expected) in enumerate(MARIADB):
        expected = values(expected)
        assert (declared, dtype) == (declared, str(frame[f"c{at}"].dtype))
        assert (declared, [expected[0], None, expected[1]]) == (declared, values(frame[f"c{at}"]))
        assert (declared, required_dtype or dtype) == (
            declared,
            str(required_frame[f"c{at}"].dtype),
        )
        assert (declared, expected) == (declared, values(required_frame[f"c{at}"]))
    zero_dates = {f"c{at}": ZERO_DATE.reason for at, one in enumerate(MARIADB) if pd.NaT in one[4]}
    assert 3 == len(zero_dates)
    assert zero_dates == found.info["tables"]["t"]["could_not_carry"]
    assert {} == found.info["tables"]["required"]["could_not_carry"]
    pd.testing.assert_series_equal(frame.dtypes, found.frames["empty"].dtypes)
    assert 0 == len(found.frames["empty"])
    for one in found.frames.values():
        check_parquet(one)


def test_dates_that_no_datetime_holds(mariadb: PrivateMariaDB) -> None:
    """A zero-in-date makes its column text, with the reason; the other columns and zero dates are
    not touched.
    """
    url = mariadb.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    mariadb.run(
        "CREATE TABLE t (id int, a date, b datetime(3) NOT NULL, c date);\n"
        "SET sql_mode = 'ALLOW_INVALID_DATES';\n"
        "INSERT INTO t VALUES (1, '2017-00-00', '2017-02-31 01:02:03.5', '2017-02-28');\n"
        "INSERT INTO t VALUES (2, '0000-00-00', '0000-00-00', '0000-00-00'), (3, NULL, "
        "'2017-12-03', '0001-01-01')",
        name,
    )
    found = read(url)
    frame = found.frames["t"]
    assert ["2017-00-00", "0000-00-00", None] == values(frame["a"])
    assert [
        "2017-02-31 01:02:03.500",
        "0000-00-00 00:00:00.000",
        "2017-12-03 00:00:00.000",
    ] == values(frame["b"])
    assert [pd.Timestamp("2017-02-28"), None, pd.Timestamp("0001-01-01")] == values(frame["c"])
    reasons = found.info["tables"]["t"]["could_not_carry"]
    assert {
        "a": "holds 2017-00-00, which no datetime can: carried as text",
        "b": "holds 2017-02-31, which no datetime can: carried as text",
        "c": "holds zero dates, which are NaT here as NULL is",
    } == reasons


def test_dates_carried_as_text_are_not_masked(mariadb: PrivateMariaDB) -> None:
    """A date stays readable, whatever its table, also where no datetime can hold it."""
    url = mariadb.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    mariadb.run(
        "CREATE TABLE t (a date, b text);\nINSERT INTO t VALUES ('2017-00-00', '2017-00-00')", name
    )
    with open_stack(url, tables_too=False) as stack:
        found = read_tables(stack.deployment)
    assert ["2017-00-00"] == found.frames["t"]["a"].tolist()
    assert ["b"] == found.info["tables"]["t"]["masked"]


@pytest.mark.parametrize(("declared", "dtype", "given", "expected", "reason"), SQLITE)
def test_every_type_of_sqlite(
    tmp_path: Path, declared: str, dtype: str, given: list[Any], expected: list[Any], reason: str
) -> None:
    """What SQLite's columns hold is carried exactly; where a value is not of the declared type,
    that is said.
    """
    import sqlite3

    path = tmp_path / "im.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE t (id integer PRIMARY KEY, c {declared})")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?)", [(1, given[0]), (2, None), (3, given[1])]
        )
    connection.close()
    found = read(f"sqlite:///{path}")
    column = found.frames["t"]["c"]
    assert dtype == str(column.dtype)
    assert [values(expected)[0], None, values(expected)[1]] == values(column)
    assert reason in found.info["tables"]["t"]["could_not_carry"].get("c", "")
    assert bool(reason) == bool(found.info["tables"]["t"]["could_not_carry"])
    check_parquet(found.frames["t"])


def test_sqlite_text_that_is_no_utf8(tmp_path: Path) -> None:
    """Text that is no UTF-8 is kept to the byte, is said, and stops nothing."""
    import sqlite3

    path = tmp_path / "im.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (c text, d text)")
        connection.execute("INSERT INTO t VALUES (CAST(x'ff41' AS text), 'good')")
    connection.close()
    found = read(f"sqlite:///{path}")
    assert [r"'\udcffA'"] == found.frames["t"]["c"].tolist()
    assert ["good"] == found.frames["t"]["d"].tolist()
    assert {"c": "holds text that is no UTF-8: carried as Python literals"} == found.info["tables"][
        "t"
    ]["could_not_carry"]


def test_the_same_dtypes_on_both(mariadb: PrivateMariaDB, tmp_path: Path) -> None:
    """The twenty tables have the same dtypes on SQLite as on MariaDB, empty or not, and a value too
    wide is said.
    """
    frames = []
    for url in (f"sqlite:///{tmp_path / 'im.db'}", mariadb.new_database()):
        with open_stack(url) as stack:
            stack.add_users(2)
            frames.append(read_tables(stack.deployment).frames)
    assert list(frames[0]) == list(frames[1])
    for name, frame in frames[0].items():
        pd.testing.assert_series_equal(frame.dtypes, frames[1][name].dtypes)
    with open_stack(f"sqlite:///{tmp_path / 'im.db'}") as stack:
        stack.put("apps", api_id=2**31, api_hash="", title="", short_name="")
        found = read_tables(stack.deployment, tables=["apps"])
    assert [2**31] == found.frames["apps"]["api_id"].tolist()
    assert {"api_id": "holds numbers beyond int32: carried as int64"} == found.info["tables"][
        "apps"
    ]["could_not_carry"]


def test_names_and_widths(url: str) -> None:
    """A table of 200 columns, and names that are keywords or hold quotes, percent signs and colons,
    are read.
    """
    names = ["select", "a b", "100%s", "it's", ":x", "日本"]
    columns = [*names, *(f"c{number}" for number in range(200 - len(names)))]
    with open_stack(url, tables_too=False) as stack:
        quote = stack.deployment.engine.dialect.identifier_preparer.quote
        with stack.deployment.engine.begin() as connection:
            # Plain driver calls would read a percent sign as a parameter's.
            table = quote("order by")
            declared = ", ".join(f"{quote(name)} int" for name in columns)
            connection.exec_driver_sql(f"CREATE TABLE {table} ({declared})", ())
            numbers = ", ".join(map(str, range(200)))
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({numbers})", ())
        frame = read_tables(stack.deployment).frames["order by"]
        some = read_tables(stack.deployment, tables={"order by": ["it's", "100%s"]}).frames[
            "order by"
        ]
    assert columns == list(frame.columns)
    assert list(range(200)) == frame.iloc[0].tolist()
    assert {"it's": [3], "100%s": [2]} == {name: some[name].tolist() for name in some}


def test_rows_longer_than_a_packet(mariadb: PrivateMariaDB) -> None:
    """Rows around the 16 MB at which the protocol splits them come back whole, and so do those
    behind them.
    """
    url = mariadb.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    head = (
        1 + 1 + 4 + 4 + 4
    )  # a row's first byte, its NULLs, the id, the length of the blob, the number
    sizes = [2**24 - 1 - head + more for more in (-1, 0, 1)] + [10]
    mariadb.run("SET GLOBAL max_allowed_packet = 67108864")
    rows = ", ".join(f"({at}, repeat('x', {size}), {at})" for at, size in enumerate(sizes))
    mariadb.run(
        f"CREATE TABLE t (id int PRIMARY KEY, b longblob, n int);\nINSERT INTO t VALUES {rows}",
        name,
    )
    frame = read(url).frames["t"]
    assert sizes == [len(value) for value in frame["b"]]
    assert [0, 1, 2, 3] == frame["n"].tolist()
    assert {b"x"} == {bytes(set(value)) for value in frame["b"]}


@pytest.mark.parametrize("piece", [1, 2, 5, 1000])
def test_rows_however_they_arrive(piece: int) -> None:
    """A packet may be cut anywhere by the network: the rows are the same."""
    rows = [b"\0" + bytes([number]) * number for number in range(1, 40)]
    stream = io.BytesIO(
        b"".join(len(row).to_bytes(3, "little") + b"\7" + row for row in [*rows, b"\xfe\0\0\2\0"])
    )

    class Wire:
        class _rfile:  # noqa: N801 - as pymysql names it
            @staticmethod
            def read1(_size: int) -> bytes:
                return stream.read(piece)

    cursor = BinaryCursor.__new__(BinaryCursor)
    cursor._wire = Wire
    found = [
        bytes(buffer[start : start + 1 + int(buffer[start + 1])])
        for buffer, starts in cursor.batches()
        for start in starts.tolist()
    ]
    assert rows == found
