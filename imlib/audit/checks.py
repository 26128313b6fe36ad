"""Every check by name, in the order in which they run: causes before what follows from them."""

from __future__ import annotations

from imlib.audit.check import Check
from imlib.audit.messages import DIALOGS, MESSAGES, NUMBERS
from imlib.audit.people import PEOPLE
from imlib.audit.presence import PRESENCE

CHECKS: dict[str, Check] = {
    one.name: one for one in (*PRESENCE, *NUMBERS, *DIALOGS, *MESSAGES, *PEOPLE)
}
"""Every check by name, in the order in which they run."""
