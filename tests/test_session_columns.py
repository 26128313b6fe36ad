"""The columnar codec: the scalar codec's verdict on every entry, in typed columns and in the order
given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imlib import CodecError, Layout, SessionStatus, session_columns
from imlib.session_columns import SessionColumns, decode_columns
from imlib.session_status import WRITTEN
from tests import strategies
from tests.strategies import BORDERS, Entry
from tests.test_session_status import VECTORS, entry

PARTS = ("auth_key_id", "session_id", "server_id", "netlib_session_id", "now")
GOOD: Entry = ("-5_6", b"1512270533_1_42")
DEPLOYED: Entry = (b"-5@6", "1@42@1512270533")
OF_2018: Entry = (b"-5", "1@1540000000@85")
CUT: Entry = ("-42", b"1@42@1512270533")
BAD: Entry = ("05_6", "1512270533_1_42")
PLACES = [(layout, part) for layout in WRITTEN for part in PARTS] + [
    (Layout.DEPLOYED_2018, part) for part in ("auth_key_id", "server_id", "now", "layer")
]
"""Each part of each layout."""


@pytest.fixture(
    scope="module", autouse=True, params=[0, sys.maxsize], ids=["by column", "one by one"]
)
def _columnar_from(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test by both ways, whatever the size of its batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_columns, "_COLUMNAR_FROM", request.param)
        yield


def decode(entries: list[Entry]) -> SessionColumns:
    """Decode entries by the column."""
    return decode_columns([field for field, _ in entries], [value for _, value in entries])


def one_by_one(entries: list[Entry]) -> tuple[list[Any], list[Any]]:
    """Return what the scalar codec says: rows of sessions, and rows of refusals."""
    good, bad = [], []
    for row, (field, value) in enumerate(entries):
        try:
            status = SessionStatus.from_key_value(field, value, user_id=0)
        except CodecError as problem:
            bad.append((row, field, value, problem.reason))
        else:
            text = field if isinstance(field, str) else field.decode()
            layout = 0 if "_" in text else 1 if "@" in text else 2
            good.append((row, layout, *(getattr(status, part) for part in PARTS)))
    return good, bad


def by_column(columns: SessionColumns) -> tuple[list[Any], list[Any]]:
    """Return columns in the same form."""
    arrays = [columns.row, columns.layout, *(getattr(columns, part) for part in PARTS)]
    good = list(zip(*(array.tolist() for array in arrays), strict=True))
    return good, [(bad.row, bad.field, bad.value, bad.reason) for bad in columns.malformed]


def spelled(part: str, text: str, layout: Layout) -> Entry:
    """Return an entry whose parts are 1, but for one and the time."""
    parts = dict.fromkeys((*PARTS, "layer"), "1") | {"now": "1540000000"} | {part: text}
    field, value = (
        layout.separator.join(parts[name] for name in names)
        for names in (PARTS[: 2 if layout in WRITTEN else 1], layout.value_parts)
    )
    return field, value


@settings(max_examples=400)
@given(st.lists(strategies.every_entry, max_size=12))
@example([GOOD])
@example([BAD])
@example([DEPLOYED, GOOD, BAD, GOOD, DEPLOYED])
@example([OF_2018])
@example([CUT])
@example([OF_2018, GOOD, CUT, DEPLOYED, OF_2018, BAD, CUT])
@example(
    [
        ("0x10_1", "1_1_1"),
        (" 1_1", "1_1_1"),
        ("01_1", "1_1_1"),
        ("-0_1", "1_1_1"),
        ("1_1\n", "1_1_1"),
    ]
)
@example(
    [
        ("1_1", "1_1_1\n"),
        ("1_1\n2_2", "1_1_1"),
        ("1_1_1", "1_1"),
        ("1", "1_1_1_1"),
        ("", "1_1_1_1_1"),
    ]
)
@example(
    [("1@1_1", "1@1"), ("1_1@1", "1_1"), ("1@1@1", "1@1"), ("1_1", "1@1@1"), ("_1_1", "1_1_1")]
)
@example([("\ud800", "\udfff"), GOOD, (b"\xff", b"\xfe"), ("１_1", "1_1_1")])
@example([("9" * 5000 + "_1", "1_1_1"), ("1_1", "1_1_1" + "\x00")])
def test_the_scalar_codecs_verdict_on_every_entry(entries: list[Entry]) -> None:
    """The same entries are taken, with the same parts, and the same are refused, for the same
    reasons.
    """
    assert one_by_one(entries) == by_column(decode(entries))


@settings(max_examples=300)
@given(st.lists(strategies.near_misses, min_size=1, max_size=12))
def test_the_same_verdict_on_near_misses(entries: list[Entry]) -> None:
    """Digits at the borders and odd spellings alone, so that each run is full of them."""
    assert one_by_one(entries) == by_column(decode(entries))


@pytest.mark.parametrize(("layout", "part"), PLACES)
def test_the_same_verdict_around_every_border(part: str, layout: Layout) -> None:
    """Each part, within three of the end of every width and of every power of ten."""
    numbers = {border + by for border in (*BORDERS, 1_500_000_000) for by in range(-3, 4)}
    numbers |= {
        sign * 10**power + by for sign in (-1, 1) for power in range(22) for by in range(-2, 3)
    }
    entries = [spelled(part, str(number), layout) for number in sorted(numbers)]
    good, bad = one_by_one(entries)
    assert good
    assert bad
    assert (good, bad) == by_column(decode(entries))


@pytest.mark.parametrize(("layout", "part"), PLACES)
def test_the_same_verdict_on_each_alone(part: str, layout: Layout) -> None:
    """A cast fails for a whole column or not at all: here no other entry decides which."""
    numbers = [border + by for border in BORDERS for by in (-1, 0, 1)]
    for text in (*map(str, numbers), "-0", "00", "01", "-01", "-", "", "1-", "--1"):
        alone = [spelled(part, text, layout)]
        assert one_by_one(alone) == by_column(decode(alone)), alone


@pytest.mark.parametrize("one", VECTORS["malformed"], ids=lambda one: ascii(list(one.values())[:4]))
def test_every_malformed_vector_alone(one: dict[str, Any]) -> None:
    """Refused with its reason, with nothing beside it and beside a clean entry."""
    for entries in ([entry(one)], [GOOD, entry(one)], [entry(one), DEPLOYED]):
        columns = decode(entries)
        assert [one["reason"]] == [bad.reason for bad in columns.malformed]
        assert len(entries) - 1 == len(columns)


def test_the_vectors() -> None:
    """All of data/vectors/session_status.json at once, valid and malformed by turns."""
    valid: list[Entry] = [
        (one["field"], one["value"]) for one in VECTORS["valid"] + VECTORS["read_only"]
    ]
    malformed = [entry(one) for one in VECTORS["malformed"]]
    entries = [one for pair in zip(valid, malformed, strict=False) for one in pair] + malformed[
        len(valid) :
    ]
    columns = decode(entries)
    assert one_by_one(entries) == by_column(columns)
    assert [one["reason"] for one in VECTORS["malformed"]] == [
        bad.reason for bad in columns.malformed
    ]
    assert len(valid) == len(columns)


@pytest.mark.parametrize(
    "entries",
    [[], [GOOD], [BAD], [DEPLOYED], [OF_2018], [DEPLOYED, BAD, GOOD], [OF_2018, GOOD, CUT]],
    ids=repr,
)
def test_the_dtypes_never_depend_on_the_input(entries: list[Entry]) -> None:
    """Empty, clean, malformed or mixed: every column is of its type, whole, and as long as the
    others.
    """
    columns = decode(entries)
    expected = dict.fromkeys(("row", *PARTS), np.dtype(np.int64)) | {
        "server_id": np.dtype(np.int32),
        "layout": np.dtype(np.int8),
    }
    arrays = {name: getattr(columns, name) for name in expected}
    assert expected == {name: array.dtype for name, array in arrays.items()}
    assert {(len(columns),)} == {array.shape for array in arrays.values()}
    assert all(array.flags.c_contiguous for array in arrays.values())
    assert len(entries) == len(columns) + len(columns.malformed)


def test_the_order_given_is_kept() -> None:
    """Layouts by turns, with malformed ones between: rows and refusals count upwards."""
    entries = [GOOD, DEPLOYED, BAD, OF_2018] * 50
    columns = decode(entries)
    assert [at for at in range(200) if at % 4 != 2] == columns.row.tolist()
    assert [0, 1, 2] * 50 == columns.layout.tolist()
    assert list(range(2, 200, 4)) == [bad.row for bad in columns.malformed]


def test_what_is_given_may_be_any_sequence() -> None:
    """Tuples and numpy's object arrays do as well as lists."""
    fields, values = zip(GOOD, DEPLOYED, BAD, strict=True)
    expected = by_column(decode([GOOD, DEPLOYED, BAD]))
    assert expected == by_column(decode_columns(fields, values))
    arrays: list[Any] = [np.array(part, dtype=object) for part in (fields, values)]
    assert expected == by_column(decode_columns(*arrays))


@pytest.mark.parametrize(
    "other", [None, 5, 1.5, bytearray(b"-5_6"), memoryview(b"-5_6"), ["-5_6"]], ids=type
)
def test_what_is_neither_str_nor_bytes_is_malformed(other: Any) -> None:
    """It gets its reason like any other, and costs its neighbours nothing."""
    for entries in (
        [(other, GOOD[1]), GOOD],
        [GOOD, (GOOD[0], other)],
        [(other, other)],
        [(other, "\ud800"), DEPLOYED],
    ):
        assert one_by_one(entries) == by_column(decode(entries))


def test_how_many_were_decoded_is_shown() -> None:
    """A repr tells both counts, and no entry."""
    assert "<SessionColumns: 2 sessions, 1 malformed>" == repr(decode([GOOD, BAD, DEPLOYED]))


@pytest.mark.parametrize(
    ("fields", "values"), [(["5_6"], []), ([], ["1_2_3"]), (["5_6"], ["1_2_3", "1_2_3"])]
)
def test_each_field_needs_its_value(fields: list[str | bytes], values: list[str | bytes]) -> None:
    """Lists of different lengths are a mistake of the caller's."""
    with pytest.raises(ValueError, match=f"{len(fields)} fields and {len(values)} values"):
        decode_columns(fields, values)
