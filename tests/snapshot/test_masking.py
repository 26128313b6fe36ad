"""Secrets leave a snapshot as tokens, which are equal where the values are, and say
nothing else.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
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
    """Within a column tokens join, whatever a value's type; NULL stays NULL. Other columns have
    other tokens, for who writes one could read the other by comparing.
    """
    with open_stack(f"sqlite:///{tmp_path / 'im.db'}", tables_too=False) as stack:
        with stack.deployment.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE a (x text, y blob, salt integer)")
            connection.exec_driver_sql("CREATE TABLE b (x text, a_x text)")
            connection.exec_driver_sql(
                "INSERT INTO a VALUES ('7', x'37', 7), (NULL, NULL, NULL), ('7', x'37', 7)"
            )
            connection.exec_driver_sql("INSERT INTO b VALUES ('7', '7'), ('', '')")
        frames = read_tables(stack.deployment).frames
    first, missing, again = (frames["a"].iloc[at].tolist() for at in range(3))
    assert first == again
    assert 5 == len({*first, *frames["b"].iloc[0]})
    assert [True] * 3 == pd.isna(missing).tolist()
    assert {"str"} == {str(dtype) for dtype in frames["a"].dtypes}
    assert re.fullmatch(r"masked:[0-9a-f]{20}", first[0])
    assert frames["b"]["x"][0] != frames["b"]["x"][1]


JOINED = [
    {"auth_keys.auth_id", "auths.auth_id", "client_updates_state.auth_key_id", "mine.AUTH_ID"},
    {"users.id", "devices.user_id", "messages.sender_user_id", "user_contacts.owner_user_id"},
]
ALONE = ["users.phone", "auth_phone_transactions.phone_number", "devices.token", "chats.id"]
ALONE += ["auth_phone_transactions.code", "v.phone", "tmp_passwords.id", "messages.peer_id"]


def test_what_joins_has_equal_tokens() -> None:
    """Auth keys and users are written as text in some tables: these tokens join, and no others."""
    masking, value = Masking(KEY), pa.array(["7"])

    def tokens(names: Iterable[str]) -> set[str]:
        pairs = (name.split(".") for name in names)
        return {masking.tokens(table, column, value)[0].as_py() for table, column in pairs}

    keys, users = map(tokens, JOINED)
    assert 1 == len(keys) == len(users)
    assert len(ALONE) + 2 == len(keys | users | tokens(ALONE))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**64 - 1, None, 0], pa.uint64()),
        pa.array([1.5, None, 0], pa.float32()),
        pa.array([True, None, False]),
        pa.array([Decimal("9" * 60), None, 0], pa.decimal256(65, 3)),
        pa.array([-(2**62), None, 0], pa.timestamp("us")),
        pa.array([2**62, None, 0], pa.timestamp("us", tz="UTC")),
        pa.array([-838 * 3600, None, 0], pa.duration("us")),
        pa.array([b"\xff", None, b""], pa.large_binary()),
    ],
    ids=lambda values: str(values.type),
)
def test_every_type_has_tokens(values: pa.Array) -> None:
    """Numbers, dates beyond Python's and bytes are masked as text is."""
    first, missing, last = Masking().tokens("a", "otp", values).to_pylist()
    assert missing is None
    assert first != last
    assert re.fullmatch(r"(masked:[0-9a-f]{20}){2}", first + last)


def test_tokens_follow_the_key() -> None:
    """Each snapshot has a key of its own, unless one is given: then tokens compare."""

    def tokens(masking: Masking) -> Any:
        return masking.tokens("t", "c", pa.array(["a", None, "b", "a"])).to_pylist()

    given, again, other = Masking(KEY), Masking(KEY), Masking(KEY + b"!")
    assert tokens(given) == tokens(again) != tokens(other)
    assert given.key_id == again.key_id != other.key_id
    assert Masking().key_id != Masking().key_id
    assert tokens(Masking()) != tokens(Masking())
    assert tokens(given)[0] == tokens(given)[3] != tokens(given)[2]


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
        ("users.country_code", pa.int32(), False),
        # Facts name them secret or personal: whatever the type, the case and the table.
        ("users.phone", pa.int64(), True),
        ("Users.PHONE", pa.uint64(), True),
        ("a_view.phone", pa.int64(), True),
        ("auth_users.ip", pa.uint32(), True),
        ("auth_phone_transactions.transaction_hash", pa.int64(), True),
        ("auth_phone_transactions.code", pa.decimal128(8, 0), True),
        ("auth_phone_transactions.phone_number", pa.int64(), True),
        ("auth_keys.body", pa.uint64(), True),
        ("tmp_passwords.tmp_password", pa.int32(), True),
        ("tmp_passwords.password_hash", pa.int64(), True),
        ("tmp_passwords.id", pa.int32(), False),
        ("tmp_passwords.valid_until", pa.int32(), False),
        ("user_privacys.recovery_mail", pa.timestamp("us"), True),
        ("user_privacys.phone_call", pa.int8(), False),
        ("devices.Token", pa.int64(), True),
        ("chats.AccessHash", pa.int64(), True),
        ("messages.message_data", pa.int64(), True),
        ("reports.content", pa.int64(), True),
        # One of the name's words says so.
        ("t.otp", pa.int32(), True),
        ("t.OTP2", pa.int32(), True),
        ("t.sms_otp_value", pa.int32(), True),
        ("t.passcode", pa.float64(), True),
        ("t.ssn", pa.int64(), True),
        ("t.secret_key", pa.int64(), True),
        ("t.clientSecret", pa.int64(), True),
        ("t.refreshTokens", pa.int64(), True),
        ("t.userSSN", pa.int64(), True),
        ("t.SSNDigits", pa.int64(), True),
        ("t.password_changed", pa.timestamp("us"), True),
        ("t.google_api_key_1", pa.int64(), True),
        ("t.apiKey", pa.int64(), True),
        ("t.authkey", pa.int64(), True),
        ("t.PRIVATE_KEY", pa.int64(), True),
        # It says something about a secret, or only sounds like one.
        ("t.token_count", pa.int32(), False),
        ("t.passwordType", pa.int32(), False),
        ("t.password_changed_at", pa.timestamp("us"), False),
        ("t.is_secret", pa.bool_(), False),
        ("t.hasPassword", pa.bool_(), False),
        ("t.tokenizer", pa.int32(), False),
        ("t.secretary_id", pa.int32(), False),
        ("t.auth_key_id", pa.int64(), False),
        ("t.zip", pa.int32(), False),
        ("t.hotpot", pa.int32(), False),
    ],
)
def test_tables_that_nobody_has_listed(name: str, dtype: pa.DataType, hidden: bool) -> None:
    """Text and binary is masked in a table that nobody has listed; of the rest, what its name
    says is secret or personal.
    """
    table, column = name.split(".")
    assert hidden is Masking().hides(table, column, dtype)
    assert not Masking(unmask=[name]).hides(table, column, dtype)


def test_a_generated_column(tmp_path: Path) -> None:
    """What the database computes is masked by the same rule."""
    with open_stack(f"sqlite:///{tmp_path / 'im.db'}", tables_too=False) as stack:
        with stack.deployment.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE users (id integer PRIMARY KEY, phone bigint, "
                "login_otp integer GENERATED ALWAYS AS (phone % 10000) VIRTUAL)"
            )
            connection.exec_driver_sql("INSERT INTO users (phone) VALUES (491701234567)")
        found = read_tables(stack.deployment)
    assert ["phone", "login_otp"] == found.info["tables"]["users"]["masked"]
    assert "4567" not in found.frames["users"].to_csv()


def test_a_save_holds_no_secret(tmp_path: Path) -> None:
    """Of a world whose every text, and every number that has to be masked, is a secret of its own,
    nothing is in the folder: neither in its bytes, nor in a column, a statistic or a dictionary.
    """
    secrets: dict[str, int | str] = {}
    with open_stack(f"sqlite:///{tmp_path / 'im.db'}") as stack:
        with stack.deployment.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE vault (id integer PRIMARY KEY, otp bigint, passcode double, "
                "ssn decimal(30), api_key blob, note text, phone integer)"
            )
            columns = {"vault": ["otp", "passcode", "ssn", "api_key", "note", "phone"]}
            for name, table in tables.items():
                shown = [c for c in table.c if f"{name}.{c.name}" not in SHOWN]
                columns[name] = [
                    c.name
                    for c in shown
                    if isinstance(c.type, sa.String) or f"{name}.{c.name}" in HIDDEN_NUMBERS
                ]
            for name, secret_columns in columns.items():
                for at, column in enumerate(secret_columns):
                    # A number as long as this stands nowhere else.
                    secrets[f"{name}.{column}"] = 7_654_321_000_000_000 + len(secrets) * 1_000 + at
            for name in columns:
                own = {c: secrets[f"{name}.{c}"] for c in columns[name]}
                if name != "vault":
                    others = [c for c in tables[name].c if c.name != "id" and c.name not in own]
                    for c in others:
                        text, number = isinstance(c.type, sa.String), isinstance(c.type, sa.Integer)
                        own |= {c.name: "x"} if text else {c.name: 7} if number else {}
                marks = ", ".join("?" * len(own))
                connection.exec_driver_sql(
                    f"INSERT INTO {name} ({', '.join(own)}) VALUES ({marks})", (*own.values(),)
                )
        stack.deployment.snapshot(mask_key=KEY).save(tmp_path / "kept")
    told = []
    for file in sorted((tmp_path / "kept").iterdir()):
        parquet = pq.ParquetFile(file)
        groups = [parquet.metadata.row_group(at) for at in range(parquet.num_row_groups)]
        chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
        decoded = [parquet.read().to_pydict(), parquet.schema_arrow.metadata]
        told += [file.read_bytes().decode("latin-1"), repr(decoded)]
        told += [repr(chunk.statistics) for chunk in chunks]
        told += [repr((c.statistics.min, c.statistics.max)) for c in chunks if c.statistics]
    everything = "\n".join(told)
    forms = {
        form.decode("latin-1")
        for secret in secrets.values()
        for number in (int(secret),)
        for form in (b"%d" % number, number.to_bytes(8, "little"), struct.pack("<d", number))
    }
    assert 25 < len(secrets) == len(set(secrets.values()))
    assert "masked:" in everything
    assert [] == [form for form in forms if form in everything]
    assert KEY.decode() not in everything
