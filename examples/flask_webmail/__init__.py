"""A small webmail in Flask with two-step verification.

`two_step.py` and `admin.py` are what a platform writes to use mfakit; the rest is the webmail that
was there before. Start it from the top of the repository: `python -m examples.flask_webmail`.
"""

from examples.flask_webmail.app import create_app

__all__ = ["create_app"]
