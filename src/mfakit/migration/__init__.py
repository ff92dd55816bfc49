"""Moving in without enrolling anew: authenticators from other software, one row after another.

A reader of `FORMATS` turns a file or a table into rows; `import_row` gives one to `MFA`; `rehearsal_of`
makes an `MFA` that decides as the real one and writes nothing. Rows hold secrets in clear: read them,
import them, let go of them.
"""

from __future__ import annotations

from mfakit.migration.exporting import exported
from mfakit.migration.formats import FORMATS, Format
from mfakit.migration.importing import Outcome, import_row
from mfakit.migration.rehearsal import rehearsal_of
from mfakit.migration.rows import BadRow, Row, Source

__all__ = [
    "BadRow",
    "FORMATS",
    "Format",
    "Outcome",
    "Row",
    "Source",
    "exported",
    "import_row",
    "rehearsal_of",
]
