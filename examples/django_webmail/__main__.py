"""Start the webmail on this machine, with demo accounts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import django
from django.core.management import call_command
from examples.webmail_shared.demo import ACCOUNTS, PASSWORD, announce


def main() -> None:
    """Read the command line, make the database, and serve until Ctrl+C."""
    parser = argparse.ArgumentParser(prog="python -m examples.django_webmail", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--data", type=Path, default=Path("webmail-data/django"), metavar="DIR")
    parser.add_argument("--smtp", metavar="HOST:PORT", help="where notices go; else to the inbox")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.django_webmail.settings"
    os.environ["WEBMAIL_DATA"] = str(options.data)
    os.environ["WEBMAIL_SMTP"] = options.smtp or ""
    django.setup()
    call_command("migrate", verbosity=0)
    from examples.django_webmail.models import Account

    Account.objects.open(ACCOUNTS, PASSWORD)
    print(announce(f"http://127.0.0.1:{options.port}/"), flush=True)
    call_command("runserver", f"127.0.0.1:{options.port}", use_reloader=False)


if __name__ == "__main__":
    main()
