"""Tests of `imlib.models`, each on every backend."""
