"""The site that `make docs` builds from these pages (Sphinx)."""

project = "Etchproof"
author = "The Etchproof authors"
copyright = "The Etchproof authors"  # Sphinx's own name
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_site"]
html_theme = "alabaster"
html_title = "Etchproof"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = [
    "myst.xref_missing"
]  # links to files beside the pages; tests/unit/test_docs.py checks every link
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
