"""The key of a snapshot's tokens: one per person and database, so that two snapshots compare."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile

from sqlalchemy import URL

from imlib.errors import ConfigurationError
from imlib.servers.urls import Secret
from imlib.snapshot.selection import SnapshotRequest

_BYTES = 32


def choose_key(request: SnapshotRequest, database: URL) -> tuple[SnapshotRequest, str]:
    """Return a request with the key of its tokens, None for a random one, and its origin in words.

    Without a key it is made from the database's place and from a secret of the person's own, which
    is kept in ``$XDG_CONFIG_HOME/imlib/mask-key``, and made where there is none.

    Raises
    ------
    ConfigurationError
        Others can read the secret, it is no plain file of one's own, or it is damaged.
    """
    if request.mask_key == "fresh":
        return replace(request, mask_key=None), "random, as asked"
    if request.mask_key is not None:
        return request, "given"
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    path = Path(home).expanduser() / "imlib" / "mask-key"
    try:
        secret = Secret(_kept(path))
    except OSError as problem:
        return request, f"random: {path} cannot be kept ({problem.strerror})"
    place = (database.host, database.port, database.database, database.query.get("unix_socket"))
    key = Secret(hashlib.blake2b(repr(place).encode(), key=secret).digest())
    return replace(request, mask_key=key), "kept for this database"


def _kept(path: Path) -> bytes:
    if not os.path.lexists(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent) as new:
            new.write(secrets.token_bytes(_BYTES))
            new.flush()
            # Another process may have been quicker: then its secret is the one.
            with suppress(FileExistsError):
                os.link(new.name, path)
    found = os.lstat(path)
    own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    if not own or found.st_mode & 0o077 or found.st_size != _BYTES:
        raise ConfigurationError(
            f"{path} is refused: allowed is a file of {_BYTES} bytes, no link, that its owner "
            "alone may read (chmod 600). Remove it to have a new one; tokens are then other ones. "
            "--fresh-mask-key or mask_key=... does without it"
        )
    return path.read_bytes()
