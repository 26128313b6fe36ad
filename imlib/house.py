"""The house itself: its layers, and which module imports which, read from the source that is installed.

Nothing here is told twice: the rooms stand in `LAYERS`, what is in them and what they need is read from the files.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Needs = Mapping[str, frozenset[str]]


class Layer(NamedTuple):
    """One storey of the house; its modules may import each other and what lies below, but nothing above.

    Parameters
    ----------
    name : str
    subject : str
        What it is about, in a few words.
    modules : tuple of str
        Their names without ``imlib.``; ``*`` stands for any letters.
    """

    name: str
    subject: str
    modules: tuple[str, ...]


LAYERS: Final = (
    Layer(
        "command line, lessons",
        "what people type and look at",
        ("__main__", "cli*", "investigation", "plots", "explorer", "lease_story", "display", "house", "evidence"),
    ),
    Layer("deployment", "all of it on one object, and the way in", ("__init__", "connection", "deployment")),
    Layer("state", "state as frames, what is wrong in it, a state made up", ("audit*", "sample", "snapshot*")),
    Layer("models", "the server's behaviour, one file a model", ("models*", "presence")),
    Layer("rooms", "clients and settings, tables, a lesson's servers", ("context", "schema*", "scratch", "validation")),
    Layer("servers", "URLs to clients; a private server", ("servers*",)),
    Layer("records and rules", "one record's codec, the lease rule; no I/O", ("lease", "session_*", "message_body")),
    Layer("words", "numbers with names, errors", ("constants", "errors")),
)
"""From the roof down."""


def needs(package: Path = Path(__file__).parent) -> dict[str, frozenset[str]]:
    """Return for each module of a package the others that it imports when it runs, within functions too.

    What is imported for types alone is left out. A folder's face, its ``__init__``, goes by the folder's name.

    Parameters
    ----------
    package : Path
        The folder of imlib, unless a test makes up another.
    """
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    short = {name: name.removeprefix(f"{package.name}.") if "." in name else "__init__" for name in files}
    return {
        short[name]: frozenset(short[one] for one in _imported(path, files.keys()) - {name})
        for name, path in files.items()
    }


def layer_of(module: str) -> int:
    """Return the place in `LAYERS`, 0 at the roof, of a module's layer.

    Raises
    ------
    LookupError
        It has none, or several: a new module is placed by whoever adds it.

    Examples
    --------
    >>> LAYERS[layer_of("models.chat")].name, layer_of("deployment") < layer_of("models.chat")
    ('models', True)
    """
    found = [at for at, layer in enumerate(LAYERS) if any(fnmatchcase(module, name) for name in layer.modules)]
    if len(found) != 1:
        raise LookupError(f"{module} is in {len(found)} layers: name it in one of imlib.house.LAYERS")
    return found[0]


def upward(needs: Needs) -> list[tuple[str, str]]:
    """Return the imports that go from a lower layer to a higher one: importer and imported; there should be none.

    Examples
    --------
    >>> upward({"lease": frozenset({"constants", "deployment"})})
    [('lease', 'deployment')]
    """
    pairs = [(module, needed) for module, others in needs.items() for needed in others]
    return sorted(pair for pair in pairs if layer_of(pair[0]) > layer_of(pair[1]))


def draw(needs: Needs, axes: Axes) -> Axes:
    """Draw the layers as rows, each with its modules; an arrow leads from a layer to each that it imports from."""
    for at, layer in enumerate(LAYERS):
        axes.axhspan(at - 0.45, at + 0.45, xmax=0.82, facecolor="#F2F2F2", edgecolor="black", linewidth=0.6)
        axes.text(0.01, at - 0.28, layer.name, fontsize=8, fontweight="bold", va="center")
        names = _listed(sorted(name for name in needs if layer_of(name) == at))
        axes.text(0.01, at + 0.12, fill(names, 84, break_on_hyphens=False), fontsize=6.5, va="center")
    rows = {(layer_of(one), layer_of(other)) for one, others in needs.items() for other in others}
    for one, other in sorted(rows):
        if one != other:
            # Each arrow has ends of its own; one that went up would bow to the left, across the rows.
            ends = (0.825, one + (other - one) * 0.05), (0.825, other - (other - one) * 0.05)
            look = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=-0.35", "color": "#444444", "shrinkA": 0}
            axes.annotate("", xytext=ends[0], xy=ends[1], arrowprops=look | {"linewidth": 0.8, "mutation_scale": 7})
    axes.set(xlim=(0, 1), ylim=(len(LAYERS) - 0.5, -0.5))
    axes.axis("off")
    return axes


def _listed(names: list[str]) -> str:
    """Return names in one line, a folder's modules once, behind its name."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, module = name.partition(".")
        folders.setdefault(folder, []).extend([module] if module else [])
    return ", ".join(f"{folder}/ ({', '.join(inner)})" if inner else folder for folder, inner in folders.items())


def _imported(path: Path, modules: Collection[str]) -> set[str]:
    """Return which of the modules the file at a path imports."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name is a module of that package, or stands in the package's face.
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in named}
    return found & set(modules)
