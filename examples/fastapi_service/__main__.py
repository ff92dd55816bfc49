"""Start the service on this machine, with demo accounts."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn
from examples.fastapi_service.app import create_app
from examples.webmail_shared.demo import ACCOUNTS, PASSWORD


def main() -> None:
    """Read the command line and serve until Ctrl+C."""
    parser = argparse.ArgumentParser(prog="python -m examples.fastapi_service", description=__doc__)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--data", type=Path, default=Path("webmail-data/fastapi"), metavar="DIR")
    options = parser.parse_args()
    app = create_app(options.data)  # the first time it hashes the passwords of the demo
    names = ", ".join(one.address for one in ACCOUNTS)
    print(f"Try it at http://127.0.0.1:{options.port}/docs  (Ctrl+C stops it)")
    print(f"Accounts: {names}; the password of each: {PASSWORD}", flush=True)
    uvicorn.run(app, port=options.port)


if __name__ == "__main__":
    main()
