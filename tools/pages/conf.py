"""How Sphinx makes the site: pages that need no network, from notebooks that have run and from
docstrings.

`tools.site` lays out the sources beside a copy of this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imlib

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "imlib"
version = release = imlib.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
]

# Outputs are those that the notebooks have: whoever builds the site has run them, or means those
# that were committed.
nb_execution_mode = "off"
# By default a page with a widget fetches scripts from a CDN; the picture beside the widget is what
# stays.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
# Anchors are Jupyter's, so that one link works in both.
myst_heading_anchors = 4
myst_heading_slug_func = "tools.course.anchor"

templates_path = ["_templates"]
# Named, for a page that shows the text of the list would be read as one.
autosummary_generate = ["reference/index.rst"]
# In docstrings `name` links to what is documented under that name.
default_role = "py:obj"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

html_theme = "furo"
# The theme's own underlines names, as if they were links.
pygments_dark_style = "monokai"
html_title = "imlib"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_domain_indices = False
# The search finds every name, and on a phone too.
html_use_index = False
# A summary would be fetched, which a browser refuses on pages that come from the disk.
html_show_search_summary = False
# Sources have buttons, outputs don't; of a session at a prompt only what was typed is copied.
copybutton_selector = ":not(.output) > div.highlight > pre"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _readable(_app: Sphinx, *about: Any) -> tuple[str, str] | None:
    """Spell a default that is made anew each time so that the signature can be parsed, and its
    types link.
    """
    signature, returned = about[-2:]
    return (
        (signature.replace("<factory>", "..."), returned)
        if "<factory>" in (signature or "")
        else None
    )


def setup(app: Sphinx) -> None:
    """Register what Sphinx calls while it reads docstrings."""
    app.connect("autodoc-process-signature", _readable)
