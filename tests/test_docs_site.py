"""The documentation builds without a warning, and a built page loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# What fetches when a page is shown; a link that a reader follows (<a href>) is no such thing.
FETCHES = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
IN_STYLES = re.compile(r"(?:url\(|@import)\s*['\"]?\s*(?:https?:)?//", re.IGNORECASE)

# Written by hand: RESET leads from everywhere to N, so the caption says it.
ALL_STATES = {"not_enrolled", "enrolling", "enrolled", "enrolled_offer", "locked", "locked_offer"}
ALL_EVENTS = {"OFFERED", "OFFER_DROPPED", "CONFIRMED", "IMPORTED", "REMOVED"}
ALL_EVENTS |= {"EXHAUSTED", "TURNED_OFF", "RESET", "PASSWORD_CHANGED", "SESSIONS_ENDED"}


def _missing() -> str | None:
    if any(find_spec(name) is None for name in ("sphinx", "myst_parser", "furo")):
        return "pip install '.[test]'"
    return None if shutil.which("dot") else "apt-get install graphviz"


def _built(built: Path) -> Path:
    """Build the documentation by the command that CONTRIBUTING.md names."""
    if command := _missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(command)
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(built)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return built


class _Fetched(HTMLParser):
    """Collects what a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            is_far = name in FETCHES.get(tag, ()) and ELSEWHERE.search(value or "")
            if is_far or (name == "style" and IN_STYLES.search(value or "")):
                self.elsewhere.append(f"<{tag} {name}={value}>")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style" and IN_STYLES.search(data):
            self.elsewhere.append(data)


def _fetched(page: str) -> list[str]:
    parser = _Fetched()
    parser.feed(page)
    return parser.elsewhere


def _drawn(page: Path) -> list[set[str]]:
    """The words in each picture of a page, without the letters that stand for states."""
    found = re.findall(
        r'<figure class="picture">(.*?)</svg>', page.read_text(encoding="utf-8"), re.DOTALL
    )
    texts = [re.findall(r"<text[^>]*>([^<]*)</text>", svg) for svg in found]
    return [{word for word in words if len(word) > 1} for words in texts]


def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Each page is built without a warning; no script, style, picture or font of another host."""
    site = _built(tmp_path / "site")
    for page in DOCS.glob("*.md"):
        assert (site / f"{page.stem}.html").is_file(), page.name
    found = {page.name: _fetched(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    assert len(found) > 20
    assert {name: one for name, one in found.items() if one} == {}
    for style in site.rglob("*.css"):
        assert not IN_STYLES.search(style.read_text(encoding="utf-8")), style.name
    assert _drawn(site / "lifecycle.html") == [ALL_STATES | ALL_EVENTS - {"RESET"}]
    assert "attr_dict" not in (site / "api.html").read_text(encoding="utf-8")
    flow, sign_in = _drawn(site / "ideas.html")
    assert {"load: one row by its key", "won", "nothing to write"} <= flow
    assert {"person", "store", "begin_login", "replace, if unchanged"} <= sign_in
    (mail_login,) = _drawn(site / "mail-clients.html")
    assert {"mail program", "account id", "the mailbox"} <= mail_login


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//cdn.example/x.css">',
        '<img srcset="a.png 1x, http://cdn.example/b.png 2x">',
        "<style>@import 'https://cdn.example/x.css';</style>",
        '<p style="background: url(//cdn.example/x.png)">',
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(page: str) -> None:
    """The check above can fail."""
    assert len(_fetched(page)) == 1
    assert _fetched('<a href="https://www.example.com/">a link</a>') == []
