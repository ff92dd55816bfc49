"""What the pages show of the code is read from the code when they are built."""

from __future__ import annotations

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx what this extension adds."""
    return {"parallel_read_safe": True, "parallel_write_safe": True}
