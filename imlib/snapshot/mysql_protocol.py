"""Rows of MySQL and MariaDB in their binary form, many at a time, over a pymysql connection.

A prepared statement returns an integer in its own bytes, a FLOAT with every bit and a blob
unescaped. A plain query returns text: a FLOAT has its first six digits only, and the server has
more work. Login, TLS and errors are pymysql's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pymysql import err
from pymysql.constants import COMMAND, CR
from pymysql.cursors import Cursor
from pymysql.protocol import FieldDescriptorPacket

PADDING = 16
"""Zero bytes after the last row: a decoder may read this far beyond a value's first byte."""

_BATCH_BYTES = 2 << 20
_RECEIVE_BYTES = 1 << 20
_HEADER_BYTES = 4
_CONTINUED = 0xFFFFFF
_END, _ERROR = 0xFE, 0xFF


class Rows(NamedTuple):
    """Some rows: their bytes with `PADDING` after them, and where in these each row starts."""

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]


class BinaryCursor(Cursor):
    """A cursor whose ``execute`` takes one SELECT, and whose rows come from `batches`.

    Attributes
    ----------
    fields : list of pymysql.protocol.FieldDescriptorPacket
        What the server says of each column: name, type_code, flags, length, scale, charsetnr.
    """

    fields: list[Any]
    # The connection: its types leave out what pymysql's own cursors call.
    _wire: Any
    _statement: int | None
    _drained: bool

    def execute(self, query: str, args: object = None) -> int:
        """Prepare and execute a SELECT; pymysql binds its parameters, as in its own cursors."""
        self._wire = self.connection
        self._statement = None
        self._drained = True
        self._wire._execute_command(COMMAND.COM_STMT_PREPARE, self.mogrify(query, args))
        answer = self._wire._read_packet().get_all_data()
        self._statement, columns, parameters = struct.unpack_from("<IHH", answer, 1)
        # The answer describes both. The columns come once more, with their final types, when the
        # statement is executed.
        for described in (parameters, columns):
            self._read_fields(described)
        if parameters:
            raise err.ProgrammingError(
                CR.CR_PARAMS_NOT_BOUND, "the statement holds a ? where SQL takes a parameter"
            )
        self._wire._execute_command(
            COMMAND.COM_STMT_EXECUTE, struct.pack("<IBI", self._statement, 0, 1)
        )
        self._wire._read_packet()
        self.fields = self._read_fields(columns)
        self._drained = False
        self.description = tuple(map(FieldDescriptorPacket.description, self.fields))
        return -1  # how many rows there are is not known yet

    def _read_fields(self, count: int) -> list[Any]:
        fields = list(map(self._wire._read_packet, repeat(FieldDescriptorPacket, count)))
        if count and not self._wire._read_packet().is_eof_packet():
            raise err.InternalError(
                CR.CR_MALFORMED_PACKET, "the server's description of the columns does not end"
            )
        return fields

    def batches(self) -> Iterator[Rows]:
        """Give all rows, about two megabytes at a time; a row that needs several packets is alone.

        Raises
        ------
        pymysql.err.MySQLError
            The server refused to go on, or closed the connection (2013).
        """
        buffer, at = bytearray(), 0
        starts: list[int] = []
        while True:
            size = len(buffer)
            length = 0
            while at + _HEADER_BYTES < size:
                length = buffer[at] | buffer[at + 1] << 8 | buffer[at + 2] << 16
                after = at + _HEADER_BYTES + length
                if after > size or length == _CONTINUED:
                    break
                if buffer[at + _HEADER_BYTES]:  # a row begins with a zero byte
                    self._drained = True
                    if starts:
                        yield _rows(buffer[:at], starts)
                    self._check_end(bytes(buffer[at + _HEADER_BYTES : after]))
                    return
                starts.append(at + _HEADER_BYTES)
                at = after
            if starts and (at >= _BATCH_BYTES or length == _CONTINUED):
                buffer, done = buffer[at:], buffer[:at]
                yield _rows(done, starts)
                starts, at = [], 0
            if length == _CONTINUED:
                buffer, row = self._long_row(buffer)
                yield _rows(row, [0])
            else:
                buffer += self._received()

    def _long_row(self, buffer: bytearray) -> tuple[bytearray, bytearray]:
        """Return what follows a row that is too long for one packet, and the row put together."""
        row, length = bytearray(), _CONTINUED
        while length == _CONTINUED:
            while len(buffer) < _HEADER_BYTES:
                buffer += self._received()
            length = int.from_bytes(buffer[:3], "little")
            while len(buffer) < _HEADER_BYTES + length:
                buffer += self._received()
            row += memoryview(buffer)[_HEADER_BYTES : _HEADER_BYTES + length]
            buffer = buffer[_HEADER_BYTES + length :]
        return buffer, row

    def _received(self) -> bytes:
        try:
            received: bytes = self._wire._rfile.read1(_RECEIVE_BYTES)
        except OSError as problem:
            raise err.OperationalError(
                CR.CR_SERVER_LOST, f"the connection broke in the middle ({problem})"
            ) from None
        if not received:
            raise err.OperationalError(
                CR.CR_SERVER_LOST, "the server closed the connection in the middle"
            )
        return received

    def _check_end(self, packet: bytes) -> None:
        if packet[0] == _ERROR:
            err.raise_mysql_exception(packet)
        if packet[0] != _END:
            raise err.InternalError(
                CR.CR_MALFORMED_PACKET, "neither a row nor an end where one of them must be"
            )

    def close(self) -> None:
        """Free the statement at the server; if rows are left unread, end the connection."""
        if not self._drained:
            self._wire._force_close()
        elif self._statement is not None and self._wire.open:
            self._wire._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", self._statement))
        self._statement = None
        self._drained = True


def _rows(buffer: bytearray, starts: list[int]) -> Rows:
    return Rows(
        np.frombuffer(buffer + bytes(PADDING), dtype=np.uint8), np.array(starts, dtype=np.int64)
    )
