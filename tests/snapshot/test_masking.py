"""Secrets leave a snapshot as tokens, which are equal where the values are, and say
nothing else.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from imlib.errors import InvalidValueError
from imlib.schema import tables
from imlib.snapshot.masking import Masking
from tests.models.stack import Stack, open_stack
from tests.snapshot.reading import read_tables

KEY = b"sixteen bytes at least"
MARK = "s3cr3t"
SHOWN = {
    *(
        "apps.title",
        "apps.short_name",
        "auth_users.device_model",
        "auth_users.platform",
        "auth_users.system_version",
    ),
    *("auth_users.app_name", "auth_users.app_version", "auth_users.country", "auth_users.region"),
    *(
        "auths.device_model",
        "auths.system_version",
        "auths.app_version",
        "auths.system_lang_code",
        "auths.lang_pack",
    ),
    *("auths.lang_code", "chats.title", "seq_updates_ngen.seq_name", "user_notify_settings.sound"),
    *("users.first_name", "users.last_name", "users.username", "users.country_code"),
}
HIDDEN_NUMBERS = {"auth_salts.salt", "chats.access_hash", "users.access_hash"}


@pytest.fixture
def secrets(tmp_path: Path) -> Iterator[Stack]:
    """Give the 20 tables with a row each: every text is secret, every number 7."""
    with open_stack(f"sqlite:///{tmp_path / 'im.db'}") as stack:
        for name, table in tables.items():
            row: dict[str, Any] = {}
            for column in table.c:
                if isinstance(column.type, sa.String):
                    row[column.name] = f"{MARK} {name}.{column.name}"
                elif isinstance(column.type, sa.Integer) and column.name != "id":
                    row[column.name] = 7
            stack.put(name, **row)
        yield stack


def test_what_is_masked_in_the_twenty_tables(secrets: Stack) -> None:
    """Every text is masked but those listed, and of the numbers the access hashes and salts."""
    info = read_tables(secrets.deployment).info
    masked = {
        f"{name}.{column}" for name, facts in info["tables"].items() for column in facts["masked"]
    }
    texts = {
        f"{n}.{c.name}"
        for n, table in tables.items()
        for c in table.c
        if isinstance(c.type, sa.String)
    }
    assert (texts - SHOWN) | HIDDEN_NUMBERS == masked


def test_no_secret_byte_in_what_is_saved(secrets: Stack) -> None:
    """The frames as Parquet, and info, hold none of the secret texts, nor the key."""
    found = read_tables(secrets.deployment, mask_key=KEY)
    shown = set()
    for frame in found.frames.values():
        file = io.BytesIO()
        frame.to_parquet(file, compression=None)
        content = file.getvalue()
        assert KEY not in content
        shown |= {text.decode() for text in re.findall(MARK.encode() + rb" ([\w.]+)", content)}
    assert SHOWN == shown
    for text in (repr(found), repr(found.info), repr(Masking(KEY)), str(dir(Masking(KEY)))):
        assert MARK not in text
        assert KEY.decode() not in text
        assert KEY.hex() not in text


def test_equal_values_have_equal_tokens(tmp_path: Path) -> None:
    """Within a snapshot tokens join across columns, tables and types; NULL stays NULL."""
    with open_stack(f"sqlite:///{tmp_path / 'im.db'}", tables_too=False) as stack:
        with stack.deployment.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE a (x text, y blob, salt integer)")
            connection.exec_driver_sql("CREATE TABLE b (z text)")
            connection.exec_driver_sql(
                "INSERT INTO a VALUES ('7', x'37', 7), (NULL, NULL, NULL), ('8', x'39', 0)"
            )
            connection.exec_driver_sql("INSERT INTO b VALUES ('7'), ('')")
        frames = read_tables(stack.deployment).frames
    token, empty = frames["b"]["z"]
    assert [token] * 3 == frames["a"].iloc[0].tolist()
    assert frames["a"].iloc[1].isna().all()
    assert 3 == frames["a"].iloc[2].nunique()
    assert {"str"} == {str(dtype) for dtype in frames["a"].dtypes}
    assert re.fullmatch(r"masked:[0-9a-f]{20}", token)
    assert token != empty


def test_tokens_follow_the_key() -> None:
    """Each snapshot has a key of its own, unless one is given: then tokens compare."""
    values = pa.array(["a", None, "b", "a"])
    given, again, other = Masking(KEY), Masking(KEY), Masking(KEY + b"!")
    assert given.tokens(values).equals(again.tokens(values))
    assert given.key_id == again.key_id != other.key_id
    assert Masking().key_id != Masking().key_id
    assert not given.tokens(values).equals(other.tokens(values))
    assert not Masking().tokens(values).equals(Masking().tokens(values))
    assert given.tokens(values)[0] == given.tokens(values)[3] != given.tokens(values)[2]


@pytest.mark.parametrize("key", [b"", bytes(15)])
def test_a_key_that_can_be_guessed(key: bytes) -> None:
    """A short key is refused, for whoever guessed it could try values until a token matches."""
    with pytest.raises(InvalidValueError, match="16 or more"):
        Masking(key)
    assert Masking(bytes(16)).key_id == Masking(bytes(16)).key_id
    assert Masking(bytes(1000)).key_id != Masking(bytes(16)).key_id


@pytest.mark.parametrize("key", ["sixteen letters or more", bytearray(16), 16, [0] * 16], ids=type)
def test_a_key_that_is_no_bytes(key: Any) -> None:
    """A key of another type is refused in a sentence that names the type, not the key."""
    with pytest.raises(InvalidValueError, match=f"mask_key is {type(key).__name__}: allowed is b"):
        Masking(key)


@pytest.mark.parametrize(
    ("name", "dtype", "hidden"),
    [
        ("users.first_name", pa.large_string(), False),
        ("members.first_name", pa.large_string(), True),
        ("members.note", pa.large_binary(), True),
        ("members.joined", pa.timestamp("us"), False),
        ("members.user_id", pa.int64(), False),
        ("members.access_hash", pa.int64(), True),
        ("members.peer_access_hash", pa.int64(), True),
        ("members.login_code", pa.int32(), True),
        ("members.token_type", pa.int8(), False),
        ("auth_keys.auth_id", pa.int64(), False),
    ],
)
def test_tables_that_nobody_has_listed(name: str, dtype: pa.DataType, hidden: bool) -> None:
    """In an unknown table all text and binary is masked, and numbers that are named
    like secrets.
    """
    table, column = name.split(".")
    assert hidden is Masking().hides(table, column, dtype)
    assert not Masking(unmask=[name]).hides(table, column, dtype)
