"""QR codes of `otpauth://` URIs, drawn here and nowhere else: the URI contains the key (extra `qr`).

Always dark on white with a quiet zone of four modules: cameras and dark pages need both.
"""

from __future__ import annotations

from io import BytesIO, StringIO
from typing import TYPE_CHECKING

from mfakit.errors import ConfigurationError

if TYPE_CHECKING:
    from segno import QRCode

__all__ = ["qr_png", "qr_svg", "qr_terminal"]

_BORDER_MODULES = 4


def qr_svg(uri: str, *, scale: int = 4) -> str:
    """Return an inline `<svg>` element.

    Args:
        uri: What the code says.
        scale: Pixels a module.

    Raises:
        ConfigurationError: Install the extra `qr`.
    """
    out = BytesIO()
    _make(uri).save(
        out,
        kind="svg",
        scale=scale,
        border=_BORDER_MODULES,
        dark="#000",
        light="#fff",
        xmldecl=False,
        svgns=True,
        nl=False,
    )
    return out.getvalue().decode()


def qr_png(uri: str, *, scale: int = 6) -> bytes:
    """Return a PNG image. Raises as `qr_svg` does."""
    out = BytesIO()
    _make(uri).save(out, kind="png", scale=scale, border=_BORDER_MODULES, dark="#000", light="#fff")
    return out.getvalue()


def qr_terminal(uri: str) -> str:
    """Return text that a terminal shows as a QR code, two modules a character.

    Raises as `qr_svg` does.
    """
    out = StringIO()
    _make(uri).terminal(out, border=_BORDER_MODULES, compact=True)
    return out.getvalue()


def _make(uri: str) -> QRCode:
    try:
        from segno import make_qr
    except ImportError as error:
        raise ConfigurationError("QR codes need segno: pip install 'mfakit[qr]'.") from error
    return make_qr(uri, error="m", boost_error=False)
