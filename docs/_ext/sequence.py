"""Sequence diagrams as SVG: the one kind of picture that Graphviz does not draw.

A line is `who -> whom: text`, or `-->` for an answer; who stands in the order of first mention.
"""

from __future__ import annotations

import re
from html import escape

COLUMN, LINE, TOP, HALF_BOX = 200, 30, 74, 56
_LINE = re.compile(r"(?P<who>[^->]+?) (?P<arrow>--?>) (?P<whom>[^:]+): (?P<text>.+)")


def sequence_svg(source: str, description: str) -> str:
    """Return the diagram; its colours are the page's (mfakit.css).

    Raises:
        ValueError: A line is not as above.
    """
    messages = [_parsed(line) for line in source.splitlines() if line.strip()]
    names = list(dict.fromkeys(name for who, whom, *_ in messages for name in (who, whom)))
    place = {name: HALF_BOX + 4 + COLUMN * number for number, name in enumerate(names)}
    width, height = place[names[-1]] + HALF_BOX + 4, TOP + LINE * len(messages)
    parts = [_head(name, x, height) for name, x in place.items()]
    for number, (who, whom, is_answer, text) in enumerate(messages):
        parts.append(_message(place[who], place[whom], TOP + LINE * number, is_answer, text))
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{escape(description)}" font-size="12"'
        f' style="max-width: {width}px; min-width: min({width}px, 34rem)">'
    )
    return "".join([opening, *parts, "</svg>"])


def _parsed(line: str) -> tuple[str, str, bool, str]:
    found = _LINE.fullmatch(line.strip())
    if found is None:
        raise ValueError(line)
    return found["who"], found["whom"], found["arrow"] == "-->", escape(found["text"])


def _head(name: str, x: int, height: int) -> str:
    return (
        f'<line x1="{x}" y1="38" x2="{x}" y2="{height}" stroke-dasharray="2 4"/>'
        f'<rect class="frame" x="{x - HALF_BOX}" y="10" width="{2 * HALF_BOX}" height="28" rx="5"/>'
        f'<text x="{x}" y="28" text-anchor="middle">{escape(name)}</text>'
    )


def _message(start: int, end: int, y: int, is_answer: bool, text: str) -> str:
    if start == end:
        return (
            f'<path d="M{start} {y - 6}h26v14h-20" fill="none"/>'
            f'<path class="head" d="M{start} {y + 8}l8 -3v6z"/>'
            f'<text class="label" x="{start + 32}" y="{y + 5}">{text}</text>'
        )
    side, dashes = (1 if end > start else -1), ' stroke-dasharray="5 3"' if is_answer else ""
    return (
        f'<line x1="{start}" y1="{y}" x2="{end - 6 * side}" y2="{y}"{dashes}/>'
        f'<path class="head" d="M{end} {y}l{-8 * side} -3v6z"/>'
        f'<text class="label" x="{(start + end) // 2}" y="{y - 5}" text-anchor="middle">{text}</text>'
    )
