"""Tests of `imlib.cli`."""
