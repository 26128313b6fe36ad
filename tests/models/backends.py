"""The Redis servers that presence has to hold on, each with the leases it can give, and a stage to
play on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import imlib
from imlib.models.online_status import OnlineStatusModel
from imlib.servers.redis import EMBEDDED, FAKEREDIS
from tests.private_servers import programs
from tests.private_servers.redis import private_redis

START = 1_512_270_533
"""What the turned clock of every stage shows first, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A server and the lease that is asked of it."""

    name: str
    lease: imlib.Lease

    def __str__(self) -> str:
        return f"{self.name}-{self.lease}"

    @property
    def is_real(self) -> bool:
        """Whether it is a server, and no imitation inside this process."""
        return self.name != "fakeredis"


FAKE = Backend("fakeredis", imlib.Lease.KEY)
VALKEY = Backend("valkey", imlib.Lease.KEY)
VALKEY_FIELD = Backend("valkey", imlib.Lease.FIELD)
DEBIAN = Backend("redis-server", imlib.Lease.KEY)
BACKENDS = (FAKE, VALKEY, VALKEY_FIELD, DEBIAN)


@contextmanager
def serve(backend: Backend) -> Iterator[str]:
    """Give the URL of a server that nobody else uses, and end it afterwards."""
    if backend.name == "fakeredis":
        yield FAKEREDIS
    elif backend.name == "redis-server":
        with private_redis() as server:
            yield server.url
    else:
        programs.redis_program(programs.VALKEY)
        with imlib.connect(EMBEDDED, EMBEDDED) as deployment:
            yield deployment.redis_url.reveal()


@dataclass(frozen=True, slots=True)
class Stage:
    """A scratch deployment with a clock that the test turns, and short words for what tests do
    there.
    """

    backend: Backend
    deployment: imlib.Deployment
    clock: imlib.ManualClock

    @property
    def model(self) -> OnlineStatusModel:
        """The presence model under test."""
        return self.deployment.online_status

    @property
    def redis(self) -> Any:
        """The client itself, for what the model has no words for; untyped, as redis-py's replies
        are.
        """
        return self.deployment.redis

    @property
    def keeps_ghosts(self) -> bool:
        """Whether a dead session's field stays while a sibling keeps the key alive."""
        return self.deployment.lease is imlib.Lease.KEY

    def session(
        self, session_id: int = 1, *, user_id: int = 7, now: int | None = None
    ) -> imlib.SessionStatus:
        """Return a session of one device, reported at the clock's time unless another is given."""
        at = int(self.clock()) if now is None else now
        return imlib.SessionStatus(user_id, -42, session_id, 3, 99, at)

    def report(
        self, session_id: int = 1, *, user_id: int = 7, now: int | None = None
    ) -> imlib.SessionStatus:
        """Set a session online and return it."""
        status = self.session(session_id, user_id=user_id, now=now)
        self.model.set_online(status)
        return status

    def turn_to(self, seconds: float) -> None:
        """Turn the clock to so many seconds after START."""
        self.deployment.advance(START + seconds - self.clock())

    def online(self, user_id: int = 7) -> list[imlib.SessionStatus]:
        """Return the user's sessions as the model reads them."""
        return self.model.get_online_by_user_id(user_id)


@contextmanager
def on_stage(
    backend: Backend,
    url: str,
    folder: Path,
    layout: imlib.Layout | str = "documented",
    *,
    online_timeout: int = 15,
    check_online_timeout: int = 17,
) -> Iterator[Stage]:
    """Give a stage on the server at `url`, emptied afterwards."""
    clock = imlib.ManualClock(START)
    with imlib.connect(
        url,
        f"sqlite:///{folder / 'imlib.db'}",
        scratch=True,
        lease=backend.lease,
        layout=layout,
        clock=clock,
        online_timeout=online_timeout,
        check_online_timeout=check_online_timeout,
    ) as deployment:
        assert backend.lease is deployment.lease
        yield Stage(backend, deployment, clock)


@pytest.fixture(scope="module", params=BACKENDS, ids=str)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Backend, str]]:
    """Give each backend and the URL of its server in turn; a module takes it with ``server =
    backends.server``.
    """
    with serve(request.param) as url:
        yield request.param, url


@pytest.fixture(scope="module", params=[one for one in BACKENDS if one.is_real], ids=str)
def real_server(request: pytest.FixtureRequest) -> Iterator[tuple[Backend, str]]:
    """Give each backend that is a server, and its URL; a module takes it with its name,
    as above.
    """
    with serve(request.param) as url:
        yield request.param, url


@pytest.fixture(scope="module")
def opened(
    server: tuple[Backend, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Give one stage for all tests of a module, for `stage`."""
    with on_stage(*server, tmp_path_factory.mktemp("stage")) as one:
        yield one


@pytest.fixture
def stage(opened: Stage) -> Iterator[Stage]:
    """Give an empty stage whose clock shows START; a module takes it with ``stage =
    backends.stage``, and its kin.
    """
    opened.clock.advance(START - opened.clock())
    yield opened
    opened.redis.flushall()
