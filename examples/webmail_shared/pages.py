"""What every page needs, whatever the framework: templates, style, filters, headers."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE / "templates"
STATIC = HERE / "static"

# No script or style in a page, nothing from elsewhere, no frame around it. Pico draws its arrows
# and ticks from data: images.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# Every page but the static files: keys, codes and mail are in no cache and not under the back button.
NO_STORE = {"Cache-Control": "no-store"}

TRUST_COOKIE = "__Host-trusted_device"
TRUST_COOKIE_OPTIONS = {
    "max_age": 30 * 86_400,
    "path": "/",
    "secure": True,
    "httponly": True,
    "samesite": "Lax",
}

# The names of `webmail_shared` for a page that asks nothing of a session or a store.
PLAIN: dict[str, Any] = {"account": None, "signed_in": False, "flashes": list, "csrf_field": str}

_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,1000}", re.ASCII)  # a session cookie holds 4096
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def safe_path(text: str | None, default: str) -> str:
    """Return a path of this site, or `default`: what stands in `next` may be a stranger's."""
    return text if text and _PATH.fullmatch(text) else default


def device_name(user_agent: str) -> str:
    """Return a name that the owner will know again in the list of trusted devices."""
    browser, system = (
        next((name for mark, name in table if mark in user_agent), None)
        for table in (_BROWSERS, _SYSTEMS)
    )
    return f"{browser or 'Browser'} on {system or 'a computer'}"


def moment(at: datetime | None) -> str:
    """Return a time as lists show it."""
    return f"{at:%-d %b %Y, %H:%M} UTC" if at else "never"


def prepare(environment: Any) -> None:
    """Give a Jinja2 environment the filters that the templates use."""
    environment.filters["moment"] = moment
    environment.trim_blocks = environment.lstrip_blocks = True
