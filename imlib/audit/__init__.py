"""What is wrong in a snapshot: the checks, what runs them, and what they found."""

from imlib.audit.checks import CHECKS
from imlib.audit.findings import Finding, Findings
from imlib.audit.runner import audit, known

__all__ = ["CHECKS", "Finding", "Findings", "audit", "known"]
