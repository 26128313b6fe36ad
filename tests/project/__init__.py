"""Tests of the project around the package: make, versions, layers, pages."""
