"""How a snapshot was taken: plain dicts with typed keys, for JSON and for people."""

from __future__ import annotations

from types import UnionType
from typing import Any, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from imlib.errors import shortened

_NEEDED = {
    "SnapshotInfo": {"tables", "where"},
    "TableFacts": {"truncated", "filtered", "primary_key", "masked"},
}


class TableFacts(TypedDict, total=False):
    """How one table was read.

    Parameters
    ----------
    rows : int
    truncated : bool
        There were more than the limit.
    filtered : bool
        Only a part of the rows was asked for.
    primary_key : list of str
    masked : list of str
        Columns whose values are tokens.
    not_at_same_instant : bool
        Its engine has no snapshots.
    could_not_carry : dict of str to str
        Columns that are carried as another type than declared, each with the reason; also nullable
        columns that hold zero dates.
    unreadable : list of int
        For ``messages``: the ids of messages whose body is in none of the three forms, at most
        1,000.
    unreadable_more : int
        How many there are beyond those.
    damaged_by_column : int
        How many bodies are protobuf that lost bytes in a text column; these are not among the
        unreadable ones.
    damaged_samples : list of int
        The ids of three of them.
    phone_twins : list of list of int
        For ``users``: the ids of those whose phones differ by a leading ``+`` alone, at most 1,000
        pairs.
    """

    rows: int
    truncated: bool
    filtered: bool
    primary_key: list[str]
    masked: list[str]
    not_at_same_instant: bool
    could_not_carry: dict[str, str]
    unreadable: list[int]
    unreadable_more: int
    damaged_by_column: int
    damaged_samples: list[int]
    phone_twins: list[list[int]]


class TablesInfo(TypedDict, total=False):
    """How the tables were read.

    Parameters
    ----------
    database : str or None
        Kind and version.
    database_skew_s : float
        This machine's clock less the database's.
    started_at : float
        Unix seconds: the instant of all tables.
    limit : int
        The most rows that are kept per table.
    mask_key_id : str
        Equal for equal keys.
    tables : dict of str to TableFacts
    left_out : dict of str to str
        Tables that were not read, each with the reason.
    not_asked : dict of str to list of str
        For one user's or some users' snapshot: per table the columns that lead to more of its rows,
        and have no index.
    incomplete : str or None
        What is missing for another reason than a choice of the caller's.
    """

    database: str | None
    database_skew_s: float
    started_at: float
    limit: int
    mask_key_id: str
    tables: dict[str, TableFacts]
    left_out: dict[str, str]
    not_asked: dict[str, list[str]]
    incomplete: str | None


class SnapshotInfo(TablesInfo, total=False):
    """How a snapshot was taken.

    Parameters
    ----------
    taken_at : float
        Unix seconds, by ``clock``.
    clock : str
        Whose clock sessions are judged by.
    skew_s : float
        This machine's clock less Redis's; NaN where Redis's could not be asked.
    redis, redis_at, database_at : str
        Kinds, versions and places of the servers, without passwords.
    lease : str
    online_timeout, check_online_timeout : int
        The two periods of a lease, in seconds, by which sessions were judged. Snapshots that were
        kept by an older imlib lack them: they were judged by 15 and 17.
    user_ids : list of int or None
        The users who were asked for; None: all.
    where : list of str
        The tables that have a condition.
    mask_key : str
        Where the key of the tokens comes from: ``given``, ``kept for this database``, or
        ``random`` with the reason.
    missing_indexes : list of str or None
        None if that could not be found out.
    in_both_layouts, on_two_servers, never_expire : list of int
        Users with a session in several layouts; with one that counts on two servers; users whose
        key never expires and holds no session. At most 1,000 each.
    redis_unfit : dict of str to str
        Of ``sessions`` and ``sequences``, what was not read, or may be old, each with the reason.
    idle_times_kept : bool
        Whether this look left Redis's OBJECT IDLETIME and FREQ alone (CLIENT NO-TOUCH).
    database_primary : str or None
        Which server the database follows, "" for none; None where the user may not ask.
    database_lag_s : float or None
        How many seconds it is behind; None where that is not known.
    other_keys : dict of str to int
        Where no presence key was found: the kinds of keys that a look at 10,000 of them met, with
        the server that writes such keys if it is known, and how many.
    malformed_not_kept : int
        How many malformed entries there were beyond those in ``malformed``.
    rows : dict of str to int
        Of each frame.
    table_of : dict of str to str
        For the name of each table's frame, the table.
    duration_s : float
    """

    taken_at: float
    clock: str
    skew_s: float
    redis: str
    redis_at: str
    database_at: str
    lease: str
    online_timeout: int
    check_online_timeout: int
    user_ids: list[int] | None
    where: list[str]
    mask_key: str
    missing_indexes: list[str] | None
    in_both_layouts: list[int]
    on_two_servers: list[int]
    never_expire: list[int]
    redis_unfit: dict[str, str]
    idle_times_kept: bool
    database_primary: str | None
    database_lag_s: float | None
    other_keys: dict[str, int]
    malformed_not_kept: int
    rows: dict[str, int]
    table_of: dict[str, str]
    duration_s: float


def misfit(info: object) -> str:
    """Return what is wrong with an info that was read from somewhere; "" where nothing is."""
    return _misfit("info", info, SnapshotInfo) if info != {} else ""


def _misfit(name: str, value: Any, hint: Any) -> str:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:
        return "" if value is None else _misfit(name, value, inner[0])
    fields = get_type_hints(hint) if is_typeddict(hint) else {}
    kinds: dict[Any, Any] = {float: (int, float), SnapshotInfo: (dict,), TableFacts: (dict,)}
    if type(value) not in kinds.get(kind, (kind,)):
        return f"{name} is {shortened(value)}"
    if type(value) is int and abs(value) >> 63:
        return f"{name} is {shortened(value)}, and no int64"
    if missing := _NEEDED.get(kind.__name__, set()).difference(value if fields else ()):
        return f"{name} lacks {min(missing)}"
    for one in value if kind is list or type(value) is dict else ():
        its = fields.get(one) if fields else inner[-1]
        told = its and _misfit("", one if kind is list else value[one], its)
        if told:
            return f"{name} {shortened(one)}{told}"
    return ""
