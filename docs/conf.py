"""How Sphinx builds the documentation: `make docs` writes docs/_build/index.html."""

project = "visualizing-convnets"
author = "The visualizing-convnets authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
myst_heading_anchors = 3
default_role = "code"
autodoc_typehints = "none"  # signatures hold them
autodoc_inherit_docstrings = False  # not those of Lightning and torch
