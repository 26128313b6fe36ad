"""The API reference: which public name stands on which page, under the shortest name that it can be reached by."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from enum import Enum
from textwrap import shorten
from types import ModuleType

from sphinx.pycode import ModuleAnalyzer

import imlib


def modules() -> Iterator[ModuleType]:
    """Give every module of imlib that has public names, but imlib itself."""
    for found in pkgutil.walk_packages(imlib.__path__, "imlib."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            if hasattr(module, "__all__"):
                yield module


def defined(module: ModuleType) -> list[str]:
    """Return the public names that `module` defines itself, not those that it hands on, in the order of its source."""
    names = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if name in module.__all__]


def notes(module: ModuleType) -> dict[str, str]:
    """Return the docstrings that stand under the public values of `module`."""
    comments = ModuleAnalyzer.for_module(module.__name__).find_attr_docs()
    return {name: " ".join(text) for (owner, name), text in comments.items() if not owner}


def summary(module: ModuleType, name: str) -> str:
    """Return the first line of the docstring of a name that `module` defines; of a bare value, the value."""
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return (inspect.getdoc(value) or "").partition("\n")[0]
    return notes(module).get(name) or f"``{value!r}``"


def full_name(module: ModuleType, name: str) -> str:
    """Return what to call a name that `module` defines: by imlib itself if that hands it on."""
    # A value's docstring is found in the module that defines it alone.
    value = getattr(module, name)
    short = name in imlib.__all__ and (inspect.isclass(value) or inspect.isfunction(value))
    return f"imlib.{name}" if short else f"{module.__name__}.{name}"


def _entry(module: ModuleType, name: str) -> str:
    value, full = getattr(module, name), full_name(module, name)
    if inspect.isfunction(value):
        return f".. autofunction:: {full}\n"
    if not inspect.isclass(value):
        options = [
            f":module: {module.__name__}",
            f":value: {shorten(repr(value), 80)}",
            "",
            notes(module).get(name, ""),
        ]
        return "\n   ".join([f".. py:data:: {name}", *options]) + "\n"
    options = [":members:", ":member-order: bysource"]
    options += [":undoc-members:"] * issubclass(value, Enum)  # most members' names say what they are
    options += [":show-inheritance:"] * (value.__bases__ != (object,))
    return "\n   ".join([f".. autoclass:: {full}", *options]) + "\n"


def _page(module: ModuleType) -> str:
    title = module.__name__
    entries = "\n".join(_entry(module, name) for name in defined(module))
    # imlib.connect is a module and a function; the function is what everybody means.
    index = "   :no-index:\n" if title.removeprefix("imlib.") in imlib.__all__ else ""
    return f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n   :no-members:\n{index}\n{entries}"


def _first_page(documented: list[ModuleType]) -> str:
    rows = {
        name: f"   * - :py:obj:`{name} <{full_name(module, name)}>`\n     - {summary(module, name)}\n"
        for module in documented
        for name in defined(module)
        if name in imlib.__all__
    }
    table = "".join(rows[name] for name in imlib.__all__ if name in rows)
    groups = {
        "The models": [module for module in documented if module.__name__.startswith("imlib.models")],
        "Snapshots": [module for module in documented if module.__name__.startswith("imlib.snapshot")],
    }
    rest = [module for module in documented if not any(module in group for group in groups.values())]
    trees = "\n".join(
        f"{title}\n{'-' * len(title)}\n\n.. toctree::\n   :maxdepth: 1\n\n"
        + "".join(f"   {module.__name__}\n" for module in group)
        for title, group in (groups | {"The rooms of the house": rest}).items()
    )
    return (
        "API reference\n=============\n\n"
        "Every public name, from its docstring. Most code needs no more than what stands on ``imlib`` itself.\n\n"
        f".. automodule:: imlib\n   :no-members:\n\n.. list-table::\n   :widths: auto\n\n{table}\n{trees}"
    )


def pages() -> dict[str, str]:
    """Return the reference's pages in reStructuredText, by their names."""
    documented = [module for module in modules() if defined(module)]
    return {"index": _first_page(documented)} | {module.__name__: _page(module) for module in documented}
