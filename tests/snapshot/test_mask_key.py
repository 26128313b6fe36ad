"""The key of a snapshot's tokens: one per person and database, and never in a snapshot."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

import imlib
from imlib import ConfigurationError
from imlib.snapshot.mask_key import choose_key
from imlib.snapshot.selection import SnapshotRequest

HERE = sa.make_url("mysql+pymysql://ann:secret@db.example/im")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the place of the secret, in a folder that nobody has made yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "imlib" / "mask-key"


def key(database: sa.URL = HERE) -> bytes | str | None:
    """Return the key that is chosen where none is given."""
    return choose_key(SnapshotRequest(), database)[0].mask_key


def test_one_person_has_one_key_per_database(secret: Path) -> None:
    """The same database gives the same key, whoever logs in; any other place another."""
    first = key()
    assert isinstance(first, bytes)
    assert key() == first == key(HERE.set(username="bob", password="else"))
    elsewhere = [
        HERE.set(host="other.example"),
        HERE.set(port=3307),
        HERE.set(database="im2"),
        HERE.set(query={"unix_socket": "/run/m.sock"}),
        sa.make_url("sqlite:////im.db"),
    ]
    assert len({first, *map(key, elsewhere)}) == 6
    assert secret.read_bytes() not in first
    assert "***" in repr(first)


def test_the_secret_is_its_owners_alone(secret: Path) -> None:
    """It is made once, of 32 random bytes, in a folder and a file that nobody else can read."""
    key()
    made = secret.read_bytes()
    key()
    assert (made, 32) == (secret.read_bytes(), len(made))
    assert 0o600 == stat.S_IMODE(secret.stat().st_mode)
    assert 0o700 == stat.S_IMODE(secret.parent.stat().st_mode)
    assert [secret] == list(secret.parent.iterdir())


def test_many_at_once_have_one_key() -> None:
    """Whoever comes second takes what the first made."""
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(key, [HERE] * 40))) == 1


def others_can_read(secret: Path) -> None:
    """Let the group read it."""
    secret.chmod(0o640)


def a_link(secret: Path) -> None:
    """Put a link in its place, to a file that would do."""
    secret.rename(secret.with_name("elsewhere"))
    secret.symlink_to(secret.with_name("elsewhere"))


def a_link_to_nowhere(secret: Path) -> None:
    """Put a link in its place, to nothing."""
    secret.unlink()
    secret.symlink_to(secret.with_name("nowhere"))


def a_folder(secret: Path) -> None:
    """Put a folder in its place."""
    secret.unlink()
    secret.mkdir()


def too_short(secret: Path) -> None:
    """Take its last byte."""
    secret.write_bytes(secret.read_bytes()[:-1])


@pytest.mark.parametrize("spoil", [others_can_read, a_link, a_link_to_nowhere, a_folder, too_short])
def test_a_secret_that_is_none_is_refused(secret: Path, spoil: Callable[[Path], None]) -> None:
    """The error names the file and the ways out, and the file stays as it is."""
    key()
    spoil(secret)
    before = os.lstat(secret)
    with pytest.raises(ConfigurationError, match=r"mask-key is refused: .*chmod 600.*--fresh"):
        key()
    assert before == os.lstat(secret)


def test_where_it_cannot_be_kept_the_key_is_random(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A configuration folder that is a file keeps nothing: the snapshot is taken all the same, and
    says so.
    """
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    request, said = choose_key(SnapshotRequest(), HERE)
    assert request.mask_key is None
    assert said.startswith("random: ")
    assert "cannot be kept" in said


def test_snapshots_say_which_key_they_have(secret: Path, tmp_path: Path) -> None:
    """By default two have the same tokens; a fresh key gives others; no folder holds the secret."""
    with imlib.connect("fakeredis://", "embedded://") as deployment:
        deployment.users.create_user("+49", "Ann")
        kept = [deployment.snapshot() for _ in range(2)]
        fresh = deployment.snapshot(mask_key="fresh")
        given = deployment.snapshot(mask_key=b"a key of sixteen bytes or more")
        phones = [one.tables["users"]["phone"][0] for one in (*kept, fresh, given)]
    assert phones[0] == phones[1]
    assert len(set(phones)) == 3
    assert ["kept for this database", "random, as asked", "given"] == [
        one.info["mask_key"] for one in (kept[0], fresh, given)
    ]
    kept[0].save(tmp_path / "kept")
    held = secret.read_bytes()
    for path in (tmp_path / "kept").rglob("*"):
        assert held not in path.read_bytes()
    loaded = imlib.Snapshot.load(tmp_path / "kept")
    assert {} == kept[1].diff(loaded).left_out
    assert "users.phone" in fresh.diff(loaded).left_out
