"""What a SELECT names: the frames that it reads, and the masked columns that it asks in vain."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from imlib.errors import InvalidValueError
from imlib.snapshot.masking import PREFIX, token_group

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Node = dict[str, Any]
"""A part of a statement as DuckDB's own parser serialises it, in lower case."""

# Functions in FROM that read no table. Others may name one in a text.
_READS_NOTHING = {"range", "generate_series", "unnest"}
# Operators and functions that compare; LIKE and its kin have a ~ in their names.
_COMPARES = re.compile(
    r"compare_.*|!?~.*|\^@|.*like_escape|regexp_.*match.*|prefix|suffix|contains|.*s_with"
)
_TOKEN = re.compile(PREFIX)
# What these give is no value of a column's.
_TELLS_NOTHING = re.compile(r"subquery|case_expr|operator_is_.*|.*count.*")


class Statement:
    """One SELECT, taken apart.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    query : str

    Raises
    ------
    InvalidValueError
        It is another statement, or there are several.
    """

    def __init__(self, connection: DuckDBPyConnection, query: str) -> None:
        kinds = [one.type.name for one in connection.extract_statements(query)]
        if kinds != ["SELECT"]:
            told = ", ".join(kinds) or "nothing"
            raise InvalidValueError(f"sql() runs one SELECT and nothing else; this is {told}")
        serialised: Any = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query])
        try:
            tree = json.loads(serialised.fetchall()[0][0].casefold())
        except RecursionError:
            tree = {}
        self._parts = [*_parts(tree.get("statements"))]
        self._hidden: dict[str, str] = {}
        self._tables: dict[str, str] = {}
        for part in self._parts:
            if part.get("type") == "base_table":
                self._tables[part["alias"] or part["table_name"]] = part["table_name"]

    def named(self, frames: Collection[str]) -> Collection[str]:
        """Return the frames that it names; all if it may read more than it names."""
        known = {name.casefold(): name for name in frames}
        named: set[str] = set()
        for part in self._parts:
            match part:
                case {"type": "base_table", "schema_name": schema, "table_name": table}:
                    named.add(schema + table)
                case {"key": name, "value": dict()}:  # of a WITH
                    known.setdefault(name, "")
                case {"type": "table_function" | "show_ref"}:
                    if _kind(part.get("function", part)) not in _READS_NOTHING:
                        return frames
        if not self._parts or named - known.keys():
            return frames
        return [*filter(None, map(known.get, named))]

    def refuse_masked(self, masked: Mapping[str, Collection[str]], bound: Collection[Any]) -> None:
        """Raise `InvalidValueError` if it compares a masked column with what no token equals.

        Parameters
        ----------
        masked : mapping of str to collection of str
            For each frame, in lower case, its masked columns.
        bound : collection
            The values of its parameters.
        """
        for alias, table in self._tables.items():
            for column in map(str.casefold, masked.get(table, ())):
                self._hidden[column] = self._hidden[f"{alias}.{column}"] = f"{table}.{column}"
        # Twice: a query may rename what another one renamed.
        for part in [*self._parts, *self._parts]:
            for one in part.get("select_list", ()):
                for column in self._asked(one)[0]:
                    self._hidden.setdefault(one["alias"], column)
        for part in self._parts:
            columns, values = self._asked(_compared(part), bound)
            groups = {token_group(*column.split(".", 1)) for column in columns}
            if len(groups) > 1 or (groups and not all(map(_TOKEN.match, values))):
                names = sorted(columns)
                raise InvalidValueError(
                    f"{' and '.join(names)}: masked in this snapshot, each column by tokens of its "
                    "own, which agree with no value and no other column; to ask for values take a "
                    f"snapshot with unmask={names}"
                )

    def _asked(self, tree: Any, bound: Collection[Any] = ()) -> tuple[set[str], list[str]]:
        """Return the masked columns and the values that an expression is made of."""
        columns: set[str] = set()
        values: list[str] = []
        for part in _parts(tree, _TELLS_NOTHING):
            match part:
                case {"column_names": [*_, table, column]} if table in self._tables:
                    columns.add(self._hidden.get(f"{table}.{column}", ""))
                case {"column_names": [*_, column]}:
                    columns.add(self._hidden.get(column, ""))
                case {"type": "value_parameter"}:
                    values += map(str, bound)
                case {"kind": kind, "text": text} if kind != "null_literal":
                    values.append(text)
        return columns - {""}, values


def _compared(part: Node) -> Any:
    """Return what a part compares, or None."""
    match part:
        case {"subquery_type": "any", "child": child, "subquery": {"node": query}}:
            return [child, query.get("select_list")]
    return part if _COMPARES.fullmatch(_kind(part)) else None


def _kind(part: Node) -> str:
    return str(part.get("function_name") or part.get("type"))


def _parts(tree: Any, unless: re.Pattern[str] | None = None) -> Iterator[Node]:
    """Yield all parts of a tree, but for what is in those that a pattern names."""
    # No recursion: a statement may be deeper than Python's stack.
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            yield part
            if not unless or not unless.fullmatch(_kind(part)):
                waiting += part.values()
