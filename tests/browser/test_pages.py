"""Every page: readable, usable by everybody, kept in no cache, and nothing on it from elsewhere."""

from __future__ import annotations

import json
import os
from importlib.resources import files

import pytest
from tour import every_page

pytestmark = pytest.mark.browser

LOOKS = {
    "phone-light": {"viewport": {"width": 375, "height": 760}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 375, "height": 760}, "color_scheme": "dark"},
    "desktop-light": {"viewport": {"width": 1200, "height": 800}, "color_scheme": "light"},
    "desktop-dark": {"viewport": {"width": 1200, "height": 800}, "color_scheme": "dark"},
}
AXE = """
async () => {
  const run = axe.run({resultTypes: ["violations"], preload: false});
  const late = new Promise((_, no) => setTimeout(() => no(new Error("axe took too long")), 8000));
  return (await Promise.race([run, late])).violations.filter(
    (one) => ["serious", "critical"].includes(one.impact)
  ).map((one) => [one.id, one.nodes.map((node) => node.html)]);
}
"""


@pytest.fixture(scope="session")
def axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def _findings(page, axe):
    page.evaluate(axe)
    return page.evaluate(AXE)


@pytest.mark.parametrize("look", LOOKS if os.environ.get("SCREENSHOTS") else list(LOOKS)[::3])
def test_every_page(person, axe, look):
    """axe has no serious finding; one h1; nothing wider than the screen; no word from the CSP."""
    seen = []
    for who, name in every_page(lambda one: person(one, **LOOKS[look])):
        seen.append(name)
        who.page.wait_for_load_state()  # a click comes back before the page is whole
        who.shot(f"{who.site.name}/{look}/{len(seen):02}-{name}")
        assert _findings(who.page, axe) == [], name
        assert who.page.locator("h1").count() == 1, name
        width = who.page.evaluate("document.documentElement.scrollWidth")
        assert width <= LOOKS[look]["viewport"]["width"], name
        unwanted = [text for text in who.complaints if "404" not in text]
        assert unwanted == [], (name, json.dumps(unwanted))
    assert len(seen) == len(set(seen)) == {"flask": 39, "django": 40}[who.site.name]
