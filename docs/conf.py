"""How Sphinx builds the documentation: `make docs` writes docs/_build/index.html."""

project = "visualizing-convnets"
author = "The visualizing-convnets authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "off"  # `make notebooks` runs them and stores their outputs
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_show_copyright = False
myst_heading_anchors = 3
default_role = "code"
autodoc_typehints = "none"  # signatures hold them
autodoc_inherit_docstrings = False  # not those of Lightning and torch
