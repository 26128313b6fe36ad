"""The state of an IM server, made plain: presence, sequences and tables as code and DataFrames.

Start with ``imlib.connect()``. pandas loads only when it is first needed: importing imlib is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imlib import constants
from imlib.connection import (
    connect,
    get_account_model,
    get_chat_model,
    get_dialog_model,
    get_message_model,
    get_online_status_model,
    get_sequence_model,
    get_updates_model,
    get_user_model,
)
from imlib.constants import *  # noqa: F403 - each name stands once, in constants.__all__
from imlib.deployment import Deployment
from imlib.errors import (
    AccessDeniedError,
    CodecError,
    ConfigurationError,
    FallbackWarning,
    ImlibError,
    InvalidValueError,
    NotConnectedError,
    NotEmptyError,
    NotFoundError,
    ReadOnlyError,
    SchemaError,
    SnapshotError,
    UnavailableError,
    UnsupportedServerError,
    WrongTypeError,
)
from imlib.lease import Clock, Lease, ManualClock, system_clock
from imlib.session_status import Layout, SessionStatus

if TYPE_CHECKING:
    from imlib.snapshot import Snapshot

__all__ = [
    "AccessDeniedError",
    "Clock",
    "CodecError",
    "ConfigurationError",
    "Deployment",
    "FallbackWarning",
    "ImlibError",
    "InvalidValueError",
    "Layout",
    "Lease",
    "ManualClock",
    "NotConnectedError",
    "NotEmptyError",
    "NotFoundError",
    "ReadOnlyError",
    "SchemaError",
    "SessionStatus",
    "Snapshot",
    "SnapshotError",
    "UnavailableError",
    "UnsupportedServerError",
    "WrongTypeError",
    "__version__",
    "connect",
    "get_account_model",
    "get_chat_model",
    "get_dialog_model",
    "get_message_model",
    "get_online_status_model",
    "get_sequence_model",
    "get_updates_model",
    "get_user_model",
    "system_clock",
]
__all__ += constants.__all__

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name == "Snapshot":
        from imlib.snapshot import Snapshot

        return Snapshot
    raise AttributeError(f"module 'imlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
