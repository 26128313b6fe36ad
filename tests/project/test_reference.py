"""The API reference: every public name stands in it and has a docstring that describes
it as it is.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from types import ModuleType
from typing import Any, is_typeddict

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from sphinx.pycode import ModuleAnalyzer

import imlib
from imlib.models.base import Record
from tests.project.pages import Pages, committed
from tests.project.test_site import Page

# Each of their names is for users; of other modules the list names what is.
FACES = (
    "imlib",
    "imlib.audit",
    "imlib.lease",
    "imlib.plots",
    "imlib.sample",
    "imlib.schema_check",
    "imlib.snapshot",
)
MODULES = [
    pytest.param(importlib.import_module(found.name), id=found.name)
    for found in pkgutil.walk_packages(imlib.__path__, "imlib.")
    if not found.name.endswith("__main__")
]


def own(module: ModuleType) -> dict[str, Any]:
    """Return the classes and functions without an underscore that `module` defines itself."""
    return {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


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
    """Give what `module` defines without an underscore, and the classes' members, by
    their names.
    """
    for name, value in own(module).items():
        yield name, value
        if inspect.isclass(value):
            for member, function in members(value):
                yield f"{name}.{member}", function


@pytest.mark.parametrize("module", MODULES)
def test_every_name_has_a_docstring(module: ModuleType) -> None:
    """Modules, classes, functions, methods and properties say what they are, the private modules'
    too.
    """
    assert module.__doc__
    assert [] == [name for name, value in described(module) if not value.__doc__]


@pytest.mark.parametrize("module", MODULES)
def test_parameters_are_those_of_the_signature(module: ModuleType) -> None:
    """A docstring that lists parameters lists no other than the code has."""
    wrong = []
    for name, value in described(module):
        read = ClassDoc if inspect.isclass(value) else FunctionDoc
        listed = [
            part.strip("* ")
            for entry in read(value)["Parameters"]
            for part in entry.name.split(",")
        ]
        if listed:
            # A TypedDict is made of its keys, and has no signature.
            known = (
                value.__annotations__
                if is_typeddict(value)
                else inspect.signature(value).parameters
            )
            wrong += [f"{name}: {one}" for one in listed if one not in known]
    assert [] == wrong


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Give the site, with the reference in it."""
    return committed(tmp_path_factory)


@pytest.fixture(scope="module")
def found(made: Pages) -> dict[str, str]:
    """Give the full names that the search finds in the reference, each with its kind."""
    text = (made.folder / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    return {
        f"{owner}.{name}": index["objnames"][str(kind)][1]
        for owner, entries in index["objects"].items()
        for _, kind, _, _, name in entries
    }


@pytest.fixture(scope="module")
def listed(found: dict[str, str]) -> dict[str, Any]:
    """Give the values, functions and classes that the reference lists by their full names: each
    must exist.
    """
    kinds = {"class", "data", "exception", "function"}
    places = {name: name.rpartition(".") for name, kind in found.items() if kind in kinds}
    return {
        name: getattr(importlib.import_module(module), last)
        for name, (module, _, last) in places.items()
    }


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_stands_in_the_reference(face: str, listed: dict[str, Any]) -> None:
    """It is listed, here or under the shorter name that imlib gives it, and the search finds it."""
    module = importlib.import_module(face)
    names = set(getattr(module, "__all__", own(module))) - {"__version__"}
    there = {(name.rpartition(".")[2], id(value)) for name, value in listed.items()}
    assert names
    assert [] == sorted(name for name in names if (name, id(getattr(module, name))) not in there)


def test_every_listed_value_is_described(found: dict[str, str]) -> None:
    """A value has a docstring under it, those of imlib itself in the list."""
    silent = []
    for name in (name for name, kind in found.items() if kind == "data"):
        module, _, value = name.rpartition(".")
        if (
            module != "imlib"
            and ("", value) not in ModuleAnalyzer.for_module(module).find_attr_docs()
        ):
            silent.append(name)
    assert [] == silent


def test_every_member_stands_on_its_class_s_page(
    listed: dict[str, Any], found: dict[str, str]
) -> None:
    """So do those that it inherits, but for how records are read."""
    classes = {name: value for name, value in listed.items() if inspect.isclass(value)}
    missing = {
        f"{name}.{member}"
        for name, value in classes.items()
        for base in value.__mro__
        if base.__module__.startswith("imlib.") and base is not Record
        for member, _ in members(base)
    } - found.keys()
    assert classes
    assert set() == missing


def test_a_class_leads_to_what_it_descends_from(listed: dict[str, Any], made: Pages) -> None:
    """The page of a model or an error links to the page that says what it has in common with
    others.
    """
    pages = {value: f"{name}.html" for name, value in listed.items() if inspect.isclass(value)}
    assert [] == [
        f"{page} to {pages[base]}"
        for value, page in pages.items()
        for base in value.__bases__
        if base in pages
        and not any(
            link.startswith(f"{pages[base]}#")
            for link in Page(made.folder / "reference" / page).links
        )
    ]
