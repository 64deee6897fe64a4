"""The page for readers: claims, figures and tables as static HTML, made of committed rows alone.

`content.py` gathers what it shows, `draw.py` draws the small pictures in it, `page.html` and `runs.html` are the templates.
"""

from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).parent


def render(template: str, values: dict[str, Any]) -> str:
    """A page from its template; everything in it is escaped unless it is markup of our own."""
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.globals |= {"style": (HERE / "page.css").read_text(), "script": (HERE / "page.js").read_text()}
    return environment.get_template(template).render(values)
