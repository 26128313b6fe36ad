"""What is wrong in a snapshot, as a list of findings."""

from imlib.audit.checks import CHECKS
from imlib.audit.runner import audit, known

__all__ = ["CHECKS", "audit", "known"]
