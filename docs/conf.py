"""How the documentation is built; `make docs` does it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `rendering`

project = "jaxloss"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser", "rendering"]
exclude_patterns = ["_static"]

html_title = "jaxloss"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["jaxloss.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_math_renderer = "mathml"

autodoc_typehints = "none"  # an argument's shape and dtype stand in its docstring
add_module_names = False
add_function_parentheses = False
toc_object_entries_show_parents = "hide"
napoleon_custom_sections = ["Guarantees"]
napoleon_use_ivar = True
napoleon_attr_annotations = False
# A name of this library becomes a link, and one that does not exist is an error.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:obj", r"(jax|optax)\..*")]
