"""Tests of `imlib.snapshot`."""
