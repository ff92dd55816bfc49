"""A small webmail in Django with two-step verification.

`two_step.py`, `services.py` and `admin.py` are what a platform writes to use mfakit; the rest is the
webmail that was there before. Start it from the top of the repository:
`python -m examples.django_webmail`.
"""
