"""The API reference: every public name has a docstring, stands in the reference, and is described as it is."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from types import ModuleType
from typing import Any

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc

import imlib
from tests.pages import committed
from tests.test_site import Page
from tools import reference

MODULES = [pytest.param(module, id=module.__name__) for module in reference.modules()]


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """Give the public methods and properties that a class has of its own, by their names."""
    for name, value in vars(owner).items():
        if name.startswith("_"):
            continue
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, cached_property):
            value = value.func
        # What a NamedTuple or an error of pandas' brings along is described elsewhere.
        if inspect.isfunction(value) and value.__module__ == owner.__module__:
            yield name, value


def described(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Give the public classes and functions that `module` defines, and the classes' members, by their full names."""
    for name in reference.defined(module):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield reference.full_name(module, name), value
        if inspect.isclass(value):
            for member, function in members(value):
                yield f"{reference.full_name(module, name)}.{member}", function


@pytest.mark.parametrize("module", MODULES)
def test_every_name_has_a_docstring(module: ModuleType) -> None:
    """Modules, classes, functions, methods and properties say what they are; so do values whose type doesn't."""
    assert module.__doc__
    assert [] == [name for name, value in described(module) if not value.__doc__]
    values = [name for name in reference.defined(module) if not callable(getattr(module, name))]
    silent = set(values) - reference.notes(module).keys()
    assert [] == sorted(name for name in silent if not isinstance(getattr(module, name), Enum))


@pytest.mark.parametrize("module", MODULES)
def test_parameters_are_those_of_the_signature(module: ModuleType) -> None:
    """A docstring that lists parameters lists no other than the code has."""
    wrong = []
    for name, value in described(module):
        read = ClassDoc if inspect.isclass(value) else FunctionDoc
        listed = [part.strip("* ") for entry in read(value)["Parameters"] for part in entry.name.split(",")]
        if listed:
            wrong += [f"{name}: {one}" for one in listed if one not in inspect.signature(value).parameters]
    assert [] == wrong


def test_what_is_public_is_said_to_be() -> None:
    """A class or function without an underscore is in its module's ``__all__``, and so in the reference."""
    silent = []
    for found in pkgutil.walk_packages(imlib.__path__, "imlib."):
        module = importlib.import_module(found.name) if not found.name.endswith("__main__") else imlib
        tree = ast.parse(inspect.getsource(module))
        names = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        public = getattr(module, "__all__", [])
        silent += [f"{found.name}.{name}" for name in names if not name.startswith("_") and name not in public]
    assert [] == silent


def test_no_module_is_left_out() -> None:
    """Whatever imlib itself hands out is defined, and so described, in one of the modules with public names."""
    homes = [name for module in reference.modules() for name in reference.defined(module) if name in imlib.__all__]
    assert sorted({*imlib.__all__} - {"__version__"}) == sorted(homes)


def test_every_name_stands_in_the_reference(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is public has its place on the pages, by the name that it is used by."""
    folder = committed(tmp_path_factory).folder / "reference"
    anchors = set().union(*(Page(path).anchors for path in folder.glob("*.html")))
    names = {name for module in reference.modules() for name, _ in described(module)}
    names |= {reference.full_name(module, name) for module in reference.modules() for name in reference.defined(module)}
    assert set() == names - anchors
