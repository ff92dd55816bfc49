"""How the documentation is built: sphinx-build -W --keep-going docs docs/_build/html."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import django
from django.conf import settings

# The Django store is documented from its docstrings, and Django wants settings first.
settings.configure(INSTALLED_APPS=["mfakit.storage.django"])
django.setup()

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "mfakit"
copyright = "the mfakit developers"
version = release = metadata.version("mfakit")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mfakit_pages"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

# Docstrings are plain English with `code` in single backquotes.
default_role = "literal"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # what a class has stands once, with its type
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"mfakit {release}"
html_static_path = ["_static"]
html_css_files = ["mfakit.css"]
html_copy_source = False
html_show_sphinx = False
