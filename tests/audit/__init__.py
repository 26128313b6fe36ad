"""Tests of `imlib.audit`."""
