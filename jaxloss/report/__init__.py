"""A page that people look at: one file of HTML, and the same as pictures and tables.

It needs the extra ``report``: ``pip install 'jaxloss[report]'``.
"""

from jaxloss.report.writing import write as write
