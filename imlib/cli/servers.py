"""The command ``servers``: what the variables lead to, and what of it cannot be told."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

import imlib
from imlib.cli.output import FAILED, YES, connected, say
from imlib.errors import ImlibError, UnavailableError
from imlib.other_keys import in_words, other_keys
from imlib.presence import measure_skew
from imlib.schema_check import check_schema
from imlib.servers import sql
from imlib.servers.redis_pipeline import translate_errors

_Questions = dict[str, Callable[[], str]]
"""What to ask of one server, by how the answers' lines begin."""


def servers(options: argparse.Namespace) -> int:
    """Say what the variables lead to: kinds, versions, roles, lag, memory, schema, lease, skew.

    Exit code 0: all of it was told; 2: something was not, because a server is gone, refuses or may
    be behind.

    for example:
      imlib servers
    """
    code = YES
    with connected(options) as deployment:
        each: list[_Questions] = [
            {
                "redis": lambda: _redis(deployment),
                "role": lambda: _redis_role(deployment),
                "memory": lambda: _memory(deployment),
                "keys": lambda: in_words(other_keys(deployment.redis)),
                "lease": lambda: deployment.lease_words,
                "skew": lambda: _skew(deployment),
            }
        ]
        if options.sample or os.environ.get("IMLIB_DATABASE_URL"):
            each.append(_of_database("database", deployment.engine))
            if deployment.replica_url:
                each.append(_of_database("replica", deployment.replica))
        for questions in each:
            if not _answered(questions):
                code = FAILED
    return code


def _answered(questions: _Questions) -> bool:
    """Print the answers of one server; return whether there are all."""
    whole = True
    for at, (name, ask) in enumerate(questions.items()):
        try:
            told = ask()
        except ImlibError as problem:
            told, whole = f"cannot be told: {problem}", False
        for line in told.splitlines():
            say(f"{name:9} {line}")
        if at == 0 and not whole:
            break  # it is gone
    return whole


def _of_database(name: str, engine: sa.Engine) -> _Questions:
    return {
        name: lambda: f"{sql.ping(engine)} at {sql.masked_url(engine)}",
        "role": lambda: _role(engine),
        "schema": lambda: str(check_schema(engine)),
    }


def _redis(deployment: imlib.Deployment) -> str:
    if deployment.server.gone:
        raise UnavailableError(deployment.server.gone)
    return f"{deployment.server} at {deployment.redis_url}"


def _info(deployment: imlib.Deployment) -> dict[str, Any]:
    # Any: redis-py types each command for asynchronous clients as well.
    client: Any = deployment.redis
    with translate_errors(client):
        return dict(client.info())


def _redis_role(deployment: imlib.Deployment) -> str:
    facts = _info(deployment)
    if facts["role"] == "master":
        return f"primary, {facts['connected_slaves']} replicas connected"
    role = f"replica of {facts['master_host']}:{facts['master_port']}"
    if facts["master_link_status"] != "up":
        raise UnavailableError(f"{role}, link down: what it holds may be old")
    return f"{role}, link up, heard of {facts['master_last_io_seconds_ago']} s ago"


def _memory(deployment: imlib.Deployment) -> str:
    facts = _info(deployment)
    return (
        f"used {facts['used_memory']} bytes, maxmemory {facts['maxmemory']} bytes (0: no limit), "
        f"policy {facts['maxmemory_policy']}, evicted keys {facts['evicted_keys']}"
    )


def _role(engine: sa.Engine) -> str:
    """Return whether a database follows another, and how far it is behind."""
    primary, lag = sql.replication(engine)
    if not primary:
        kind = "a file" if engine.dialect.name == "sqlite" else "primary"
        return f"{kind}: it follows nobody"
    if lag is None:
        raise UnavailableError(
            f"replica of {primary}, which it does not follow now: what it holds may be old"
        )
    return f"replica of {primary}, lag {lag} s"


def _skew(deployment: imlib.Deployment) -> str:
    skew, _ = measure_skew(deployment.redis)
    if math.isnan(skew):
        raise UnavailableError("this user may not ask Redis for TIME")
    return f"this machine's clock is {skew:+.3f} s from Redis's (2 s are allowed)"
