"""A report as one page that needs no network: tables, and the plots within it (jinja2)."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from smtp_router.simulation.plots import svg
from smtp_router.simulation.report import KINDS, Plain
from smtp_router.simulation.text import span


def page(report: Plain) -> str:
    """The page, in HTML."""
    environment = Environment(
        loader=PackageLoader("smtp_router.simulation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["span"] = span
    plots = Markup(svg(report))  # noqa: S704 - matplotlib escapes what it writes
    return environment.get_template("page.html").render(report=report, kinds=KINDS, plots=plots)
