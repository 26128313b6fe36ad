"""A private Redis or Valkey."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.private_servers.process import PrivateServer, private_folder
from tests.private_servers.programs import REDIS_SERVER, redis_program


class PrivateRedis(PrivateServer):
    """A Redis on a unix socket, with nothing written to disk.

    Parameters
    ----------
    folder : Path
        Where its socket and its log stand.
    *arguments : str
        More of the server's own options, such as ``--requirepass``, ``secret``.
    program : str
        `REDIS_SERVER` or `VALKEY`.
    """

    def __init__(self, folder: Path, *arguments: str, program: str = REDIS_SERVER) -> None:
        super().__init__(folder)
        self._command = [redis_program(program), "--port", "0"]
        self._command += ["--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        self._command += ["--save", "", "--appendonly", "no", "--dir", str(folder), *arguments]
        self.start()

    @property
    def url(self) -> str:
        """Where it listens, without a password."""
        return f"unix://{quote(str(self.socket))}"

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            return True
        return False


@contextmanager
def private_redis(*arguments: str, program: str = REDIS_SERVER) -> Iterator[PrivateRedis]:
    """Give a running `PrivateRedis`, empty, and end it and remove its folder afterwards."""
    with private_folder() as folder, PrivateRedis(folder, *arguments, program=program) as server:
        yield server
