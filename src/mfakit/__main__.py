"""`python -m mfakit` is the command `mfakit`."""

from mfakit.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
