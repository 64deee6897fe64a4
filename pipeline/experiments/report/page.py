"""Renders a template of the page."""

from pathlib import Path
from typing import Any

import jinja2

from pipeline.report.statistics import show_p

HERE = Path(__file__).parent


def render(template: str, values: dict[str, Any]) -> str:
    """A page from its template; everything in it is escaped unless it is markup of our own."""
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment.globals |= {"style": style, "script": script}
    environment.filters["p_value"] = show_p
    return environment.get_template(template).render(values)
