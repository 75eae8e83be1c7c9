"""Renders self-contained pages from templates, in one style. All text is escaped, so that no name is markup."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from multihot.printable import printable


def environment(package: str) -> Environment:
    """Returns the templates of a package, in its folder `templates`, and those that all pages share.

    Shared are `page.css` and `macros.jinja`.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("multihot")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["printable"] = printable
    return made
