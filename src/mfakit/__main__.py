"""`python -m mfakit` is `mfakit`."""

from mfakit.cli import main

if __name__ == "__main__":
    main()
