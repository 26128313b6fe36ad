"""The state of an IM server, made plain: presence leases, sequences and tables as code and
DataFrames.

Start with ``imlib.connect()``. What needs pandas loads when it is first used: importing imlib costs
next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

# Behind imlib.connect, whose loading gives that name to the module: here the function takes it.
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
from imlib.constants import (
    CHECK_ONLINE_TIMEOUT,
    MESSAGE_BOX_TYPE_INCOMING,
    MESSAGE_BOX_TYPE_OUTGOING,
    MESSAGE_TYPE_MESSAGE,
    MESSAGE_TYPE_MESSAGE_SERVICE,
    MESSAGE_TYPE_UNKNOWN,
    ONLINE_TIMEOUT,
    TOKEN_TYPE_APNS,
    TOKEN_TYPE_BLACKBERRY,
    TOKEN_TYPE_GCM,
    TOKEN_TYPE_INTERNAL_PUSH,
    TOKEN_TYPE_MPNS,
    TOKEN_TYPE_SIMPLE_PUSH,
    TOKEN_TYPE_UBUNTU_PHONE,
    MessageBoxType,
    MessageType,
    OnlineTimeout,
    ParticipantType,
    PeerType,
    TokenType,
)
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
    "CHECK_ONLINE_TIMEOUT",
    "MESSAGE_BOX_TYPE_INCOMING",
    "MESSAGE_BOX_TYPE_OUTGOING",
    "MESSAGE_TYPE_MESSAGE",
    "MESSAGE_TYPE_MESSAGE_SERVICE",
    "MESSAGE_TYPE_UNKNOWN",
    "ONLINE_TIMEOUT",
    "TOKEN_TYPE_APNS",
    "TOKEN_TYPE_BLACKBERRY",
    "TOKEN_TYPE_GCM",
    "TOKEN_TYPE_INTERNAL_PUSH",
    "TOKEN_TYPE_MPNS",
    "TOKEN_TYPE_SIMPLE_PUSH",
    "TOKEN_TYPE_UBUNTU_PHONE",
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
    "MessageBoxType",
    "MessageType",
    "NotConnectedError",
    "NotEmptyError",
    "NotFoundError",
    "OnlineTimeout",
    "ParticipantType",
    "PeerType",
    "ReadOnlyError",
    "SchemaError",
    "SessionStatus",
    "Snapshot",
    "SnapshotError",
    "TokenType",
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

__version__: Final = "0.2.0"


def __getattr__(name: str) -> Any:
    if name == "Snapshot":
        from imlib.snapshot import Snapshot

        return Snapshot
    raise AttributeError(f"module 'imlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
