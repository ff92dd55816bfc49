"""Fuzzing: what a stranger, a thief or an old file can hand to mfakit, and what must hold then.

`python -m tests.fuzz` is the long run; `test_fuzz.py` replays what was kept in the normal suite.
"""
