"""What the pages show of the code is read from the code when they are built.

Two directives: `picture` draws (by Graphviz, or a sequence diagram), and `document-schema` shows the schema of the record.
Pictures are put into the page itself, so that they take its colours and nothing has to be fetched.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import msgspec
from docutils import nodes
from sequence import sequence_svg
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from mfakit.core import lifecycle, record
from mfakit.core.lifecycle import OFF, TRANSITIONS, Event, State
from mfakit.core.record import Record

SVG = "http://www.w3.org/2000/svg"
_ATTRS_DEFAULT = re.compile(r"attr_dict\['(\w+)'\]\.default")
LETTERS = dict(zip(State, "NGEPLR", strict=True))


def lifecycle_dot() -> str:
    """Return the lifecycle as Graphviz reads it: an arrow for each way between two states."""
    ways: dict[tuple[State, State, bool], list[str]] = defaultdict(list)
    for state, events in TRANSITIONS.items():
        for event, (after, rises) in events.items():
            if event not in everywhere():
                ways[state, after, rises].append(event.name)
    lines = [
        f'{state.name} [label="{LETTERS[state]}\\n{state.value}" class="{_kind(state)}"];'
        for state in State
    ]
    for (state, after, rises), names in ways.items():
        label, style = "\\n".join(names), "solid" if rises else "dashed"
        lines.append(f'{state.name} -> {after.name} [label="{label}" style={style}];')
    settings = "rankdir=TB; nodesep=0.9; ranksep=0.7; node [shape=box style=rounded]; edge [arrowsize=0.7];"
    return "\n".join(["digraph lifecycle {", settings, *lines, "}"])


def everywhere() -> dict[Event, State]:
    """Return the events that lead from every state to one and the same: six arrows too many."""
    ends = {event: [TRANSITIONS[state].get(event) for state in State] for event in Event}
    return {event: all_[0][0] for event, all_ in ends.items() if all_[0] and len(set(all_)) == 1}


def _kind(state: State) -> str:
    return "off" if state in OFF else "on"


def drawn(dot: str, description: str) -> str:
    """Return an inline SVG of a Graphviz text; its colours are the page's (mfakit.css)."""
    try:
        run = subprocess.run(
            ["dot", "-Tsvg", "-Gfontname=sans-serif", "-Nfontname=sans-serif",
             "-Efontname=sans-serif", "-Nfontsize=12", "-Efontsize=10", "-Gbgcolor=transparent"],
            input=dot, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        raise ExtensionError("Pictures need Graphviz: apt-get install graphviz.") from error
    ET.register_namespace("", SVG)
    root = ET.fromstring(run.stdout)
    for parent in root.iter():
        for title in parent.findall(f"{{{SVG}}}title"):  # a browser shows them as tooltips
            parent.remove(title)
    width = root.attrib.pop("width").removesuffix("pt")
    root.attrib.pop("height")
    style = f"max-width: {width}pt; min-width: min({width}pt, 34rem)"
    root.attrib |= {"role": "img", "aria-label": description, "style": style}
    return ET.tostring(root, encoding="unicode")


class Picture(SphinxDirective):
    """Draw `lifecycle`, or a file of docs/pictures; the content is the caption."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the picture and its caption."""
        caption = " ".join(self.content)
        if self.arguments[0] == "lifecycle":
            self.env.note_dependency(lifecycle.__file__)
            caption += "".join(
                f" {event.name} leads from every state to {LETTERS[end]}."
                for event, end in everywhere().items()
            )
            svg = drawn(lifecycle_dot(), caption)
        else:
            path = Path(self.env.srcdir) / "pictures" / self.arguments[0]
            self.env.note_dependency(str(path))
            draw = {".dot": drawn, ".seq": sequence_svg}[path.suffix]
            svg = draw(path.read_text(encoding="utf-8"), caption)
        figure = f'<figure class="picture">{svg}<figcaption>{caption}</figcaption></figure>'
        return [nodes.raw("", figure, format="html")]


class DocumentSchema(SphinxDirective):
    """Show the JSON schema of the record's body, made from its classes."""

    def run(self) -> list[nodes.Node]:
        """Return the schema as a block of JSON."""
        self.env.note_dependency(record.__file__)
        text = json.dumps(msgspec.json.schema(Record), indent=2)
        return [nodes.literal_block(text, text, language="json")]


def show_defaults(
    app: Sphinx, what: str, name: str, shown: object, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """Show the defaults of an attrs class as values, where its generated code looks them up."""
    if what != "class" or not attrs.has(shown):
        return None
    defaults = {field.name: repr(field.default) for field in attrs.fields(shown)}
    return _ATTRS_DEFAULT.sub(lambda found: defaults[found[1]], signature or ""), returns


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx what this extension adds."""
    app.add_directive("picture", Picture)
    app.add_directive("document-schema", DocumentSchema)
    app.connect("autodoc-process-signature", show_defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
