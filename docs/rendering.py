"""What Sphinx learns for these pages: formulas, curves, how to read a docstring."""

import inspect
import re

import curves
import jax
from docutils import nodes
from docutils.parsers.rst import Directive
from math_core import LatexError, LatexToMathML
from sphinx.addnodes import pending_xref
from sphinx.util import logging

LATEX = LatexToMathML(fancy_error=False)
NAME = re.compile(r"(per_sample|checked|(losses|reduction|ledger|audit)\.\w+)(?!\w|\.)")
CODE = re.compile(r"(?<![`:\w])`(\w+)`(?!`)")


def mathml(node, *, display: bool) -> str:
    try:
        return LATEX.convert_with_local_state(node.astext(), displaystyle=display)
    except LatexError as error:
        logging.getLogger(__name__).warning("%s", error, location=node)
        return ""


def visit_inline_math(translator, node):
    translator.body.append(mathml(node, display=False))
    raise nodes.SkipNode


def visit_math_block(translator, node):
    formula = mathml(node, display=True)
    translator.body.append(f'<div class="math">{formula}</div>\n')
    raise nodes.SkipNode


class Curve(Directive):
    """Draws the loss that the argument names."""

    required_arguments = 1

    def run(self):
        (loss,) = self.arguments
        figure = f'<figure class="curve">{curves.draw(loss)}</figure>'
        return [nodes.raw("", figure, format="html")]


def prepare_docstring(app, what, name, obj, options, lines):
    """Puts the curve of a loss below its formula, and tells arguments from links."""
    if what == "function":
        arguments = inspect.signature(obj).parameters
        lines[:] = [
            CODE.sub(lambda m: f"`{m[0]}`" if m[1] in arguments else m[0], line)
            for line in lines
        ]
    loss = name.removeprefix("jaxloss.losses.")
    if loss in curves.CURVES:
        place = lines.index("Args:")
        lines[place:place] = [f".. curve:: {loss}", ""]


def prepare_code(app, doctree):
    """Makes links of the names of this library that are written as code.

    Names that are not there are errors, as in a docstring.
    """
    for literal in list(doctree.findall(nodes.literal)):
        name = NAME.match(literal.astext())
        if name and not isinstance(literal.parent, pending_xref):
            link = pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=f"jaxloss.{name[1]}",
                refdoc=app.env.docname,
                refwarn=True,
            )
            literal.replace_self(link)
            link += literal
    for entry in doctree.findall(nodes.entry):
        for literal in entry.findall(nodes.literal):
            # In the narrow columns of a table a name may break between its words.
            first, *words = re.split(r"(?<=[_.])", literal.astext())
            literal[:] = [nodes.Text(first)]
            for word in words:
                literal += [nodes.raw("", "<wbr>", format="html"), nodes.Text(word)]
    for block in doctree.findall(nodes.literal_block):
        # A doctest needs an empty line before the fence, and a reader does not.
        block.rawsource = block.rawsource.rstrip()
        block[:] = [nodes.Text(block.rawsource)]


def setup(app):
    jax.config.update("jax_disable_most_optimizations", True)  # each curve runs once
    # Formulas become MathML while building, so that a page loads nothing.
    app.add_html_math_renderer(
        "mathml", (visit_inline_math, None), (visit_math_block, None)
    )
    app.add_directive("curve", Curve)
    app.connect("doctree-read", prepare_code)
    # Before napoleon, which rewrites the sections.
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
