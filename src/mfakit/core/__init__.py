"""The audited core: pure decisions over one small record.

No module here reads a clock, a file, a network or a database; time, randomness, keys and policy are
arguments. Imports go downward only, in the order that `pyproject.toml` gives to import-linter.
"""
