"""Tests of `imlib.servers`."""
