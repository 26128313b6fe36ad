"""What hypothesis draws for the codecs: sessions, entries of both layouts, near misses, and
anything at all.
"""

from __future__ import annotations

from hypothesis import strategies as st

import imlib
from imlib.session_status import WIDTHS, WRITTEN

Entry = tuple[str | bytes, str | bytes]
"""A hash field and its value."""

BORDERS = sorted(
    {end for low, high in WIDTHS.values() for end in (low, high)} | {0, 2**32, 2**53, 2**64, 10**19}
)

sessions = st.builds(
    imlib.SessionStatus, **{name: st.integers(*width) for name, width in WIDTHS.items()}
)
"""Any session, over the full width of every part."""

layouts = st.sampled_from(WRITTEN)


def _spelled(status: imlib.SessionStatus, layout: imlib.Layout) -> Entry:
    return status.to_field(layout), status.to_value(layout)


def _as_bytes(entry: Entry, which: tuple[bool, bool]) -> Entry:
    field, value = (
        part.encode(errors="surrogatepass") if wanted and isinstance(part, str) else part
        for part, wanted in zip(entry, which, strict=True)
    )
    return field, value


def _mixed(entries: st.SearchStrategy[Entry]) -> st.SearchStrategy[Entry]:
    """Give each half of an entry as str or as bytes."""
    return st.builds(_as_bytes, entries, st.tuples(st.booleans(), st.booleans()))


_of_2018 = st.tuples(
    st.integers(*WIDTHS["auth_key_id"]).map(str),
    st.builds(
        "{}@{}@{}".format,
        st.integers(*WIDTHS["server_id"]),
        st.integers(1_500_000_000, WIDTHS["now"][1]),
        st.integers(1, 9999),
    ),
)
_written = st.builds(_spelled, sessions, layouts)
valid_entries = _mixed(_written | _of_2018)
"""Entries of every layout."""

# Integers near the ends of the widths, and spellings that other parsers take for integers.
_near_border = st.builds(
    lambda border, by: str(border + by), st.sampled_from(BORDERS), st.integers(-2, 2)
)
_odd = st.sampled_from(
    ["", "-", "-0", "00", "01", "-01", "+1", "--1", "1-", "0x10", "0b1", "1_0", "1.0", "1e3", "nan"]
)
_odd |= st.sampled_from([" 1", "1 ", "1\n", "\n1", "1\x00", "１", "٣", "−1", "\ud800", "True"])
_odd |= st.sampled_from(["9" * 25, "-" + "9" * 25, "0" * 30, "9" * 5000])
_part = st.one_of(_near_border, _near_border, st.integers(-9, 9).map(str), _odd)
_near_2018 = st.sampled_from([0, 1, 85, 9999, 1_500_000_000, 1_512_270_533, 2**63 - 1]).flatmap(
    lambda number: st.integers(number - 2, number + 2).map(str)
)
_near_2018 |= _part
_separator = st.sampled_from(["_", "@", "_", "@", "_", "@", "", ":", "__"])


@st.composite
def _near_misses(draw: st.DrawFn) -> Entry:
    if not draw(st.integers(0, 4)):
        return draw(_part), "@".join((draw(_part), draw(_near_2018), draw(_near_2018)))
    separator = draw(st.sampled_from(["_", "@"]))
    between = separator if draw(st.integers(0, 9)) else draw(_separator)
    counts = (
        (2, 3) if draw(st.integers(0, 9)) else (draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    )
    field, value = (separator.join(draw(_part) for _ in range(count)) for count in counts)
    return field.replace(separator, between), value


near_misses = _mixed(_near_misses())
"""Entries that look right: digits at the borders, odd spellings, too few and too many parts, other
separators.
"""

anything = _mixed(
    st.tuples(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
    | st.tuples(st.text("0123456789-_@ \n", max_size=30), st.text("0123456789-_@ \n", max_size=30))
) | st.tuples(st.binary(max_size=30), st.binary(max_size=30))
"""Any str, lone surrogates among them, and any bytes."""


@st.composite
def _tampered(draw: st.DrawFn) -> Entry:
    halves = list(draw(_written | _of_2018))
    which = draw(st.integers(0, 1))
    text = halves[which]
    assert isinstance(text, str)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(start + 2, len(text))))
    put = draw(st.text(st.sampled_from("0123456789-_@+ \n.x１") | st.characters(), max_size=2))
    halves[which] = text[:start] + put + text[end:]
    return halves[0], halves[1]


tampered_entries = _mixed(_tampered())
"""Valid entries of which up to two characters were replaced, taken out or put in."""

every_entry = valid_entries | near_misses | tampered_entries | anything
