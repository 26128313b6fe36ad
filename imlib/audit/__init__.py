"""What is wrong in a snapshot, as a list of findings."""

from imlib.audit.checks import CHECKS
from imlib.audit.findings import Finding, Findings
from imlib.audit.runner import audit, known

__all__ = ["CHECKS", "Finding", "Findings", "audit", "known"]
