"""Servers on the loopback interface that are no Redis, or say that they are another one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hiredis

Answer = Callable[[list[bytes]], bytes]
"""What a server says to one command, in Redis's protocol."""


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Give host:port of a server that hands each connection to `serve`, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                opened.append(connection)
                threading.Thread(target=guarded, args=(connection,), daemon=True).start()

    def guarded(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # A shutdown wakes the thread that accepts; a close alone would not.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in opened:
            connection.close()
        thread.join()


def silent(connection: socket.socket) -> None:
    """Take everything and never answer."""
    while connection.recv(4096):
        pass


def http(connection: socket.socket) -> None:
    """Answer as a web server does."""
    connection.recv(4096)
    connection.sendall(
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )


def hangs_up(connection: socket.socket) -> None:
    """Close the connection at the first command."""
    connection.recv(4096)


def mail(connection: socket.socket) -> None:
    """Speak first, as a mail server does."""
    connection.sendall(b"220 mail.example.org ESMTP\r\n")
    silent(connection)


def redis_that(answer: Answer) -> Callable[[socket.socket], None]:
    """Return a server that speaks Redis's protocol and answers as it is told."""

    def serve(connection: socket.socket) -> None:
        reader = hiredis.Reader()
        while piece := connection.recv(4096):
            reader.feed(piece)
            while (command := reader.gets()) is not False:
                connection.sendall(answer(command))

    return serve


def of_version(facts: str) -> Callable[[socket.socket], None]:
    """Return a server whose INFO holds these lines, and that knows no command of the last ten
    years.
    """
    text = facts.replace("\n", "\r\n").encode()

    def answer(command: list[bytes]) -> bytes:
        if command[0].upper() == b"INFO":
            return b"$%d\r\n%s\r\n" % (len(text), text)
        return b"-ERR unknown command\r\n"

    return redis_that(answer)
