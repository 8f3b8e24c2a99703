"""Settings of Sphinx: `python -m sphinx -nW docs site` makes the site, offline."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

from thriftseg import __version__

project, author, release = "thriftseg", "The thriftseg authors", __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "api_reference",
    "command_reference",
]
exclude_patterns = ["_build", "_ext", "gallery", "measurements"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", rf"{name}(\..*)?") for name in ("(?!thriftseg).*",)]
"""Types of other libraries are named, not linked; those of our own have to be found."""

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline"]
myst_links_external_new_tab = False
suppress_warnings = ["config.cache"]  # the order of the gallery is a function

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar, napoleon_use_rtype = True, False

os.environ.setdefault("OMP_NUM_THREADS", "1")
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": re.escape(os.sep),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib",),
    "plot_gallery": True,
    "abort_on_example_error": True,
}

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "thriftseg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
