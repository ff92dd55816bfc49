"""Curves as SVG, readable on a light and on a dark page, nothing loaded from elsewhere."""

from __future__ import annotations

from io import StringIO

from benchmarks.timing import Curves

_INK = "#808080"  # on white and on black alike
_COLOURS = ("#0b84a5", "#e07a1f", "#6f9e3f")
_STYLE = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "svg.fonttype": "none",  # text stays text: it can be read aloud and searched
    "svg.hashsalt": "mfakit",  # the same figures give the same file
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def as_svg(title: str, curves: Curves) -> str:
    """Return a picture of all lines, from zero up."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.subplots()
        for (name, points), colour in zip(curves.lines.items(), _COLOURS, strict=False):
            axes.plot(list(points), list(points.values()), "o-", color=colour, label=name)
        numbers = sorted({number for points in curves.lines.values() for number in points})
        if curves.is_logarithmic:
            axes.set_xscale("log")
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axes.minorticks_off()
        axes.set_ylim(0, 1.1 * max(max(points.values()) for points in curves.lines.values()))
        axes.set_xlabel(curves.across)
        axes.set_ylabel(curves.up)
        axes.legend(loc="best")
        out = StringIO()
        metadata = {"Date": None, "Creator": None, "Title": title}
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    return out.getvalue()
