"""Start the webmail on this machine, with demo accounts."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.flask_webmail.app import create_app
from examples.webmail_shared.demo import ACCOUNTS, PASSWORD, announce
from examples.webmail_shared.notices import smtp_sender


def main() -> None:
    """Read the command line and serve until Ctrl+C."""
    parser = argparse.ArgumentParser(prog="python -m examples.flask_webmail", description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--data", type=Path, default=Path("webmail-data/flask"), metavar="DIR")
    parser.add_argument("--smtp", metavar="HOST:PORT", help="where notices go; else to the inbox")
    options = parser.parse_args()
    host, _, port = (options.smtp or "").partition(":")
    app = create_app(options.data, send=smtp_sender(host, int(port)) if options.smtp else None)
    app.extensions["mailboxes"].open(ACCOUNTS, PASSWORD)
    print(announce(f"http://127.0.0.1:{options.port}/"), flush=True)
    app.run(port=options.port, threaded=True)


if __name__ == "__main__":
    main()
