"""`mfakit keys generate|list`: the key file, made private and changed in one step."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

import click

from mfakit.cli.options import DONE, json_option, key_ring, keys_option
from mfakit.cli.options import status as ends_with_status
from mfakit.cli.output import show, table
from mfakit.cli.upkeep import keys
from mfakit.errors import ConfigurationError
from mfakit.keyring import KeyRing

__all__ = ["keys"]


@keys.command()
@click.argument("key_id")
@click.option(
    "--into",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Add it to this key file, which is made (readable by you only) if there is none.",
)
@click.option("--first", is_flag=True, help="With --into: on top, so that it seals from now on.")
@json_option
@ends_with_status
def generate(*, key_id: str, into: Path | None, first: bool, as_json: bool) -> int:
    """Make a new key.

    Without --into the key is printed, and is secret. In a file it goes to the end, where it opens but
    does not seal yet: first give every process the file, then put it on top.
    """
    entry = KeyRing.generate_entry(key_id)
    if into is None:
        show({"key_id": key_id, "entry": entry}, [entry], as_json=as_json)
        return DONE
    present = _read(into)
    lines = [entry, *present] if first else [*present, entry]
    _replace(into, "\n".join(lines) + "\n")
    place = "It seals." if first or not present else "It opens and does not seal yet."
    text = f"Key {key_id} is in {into}. {place}"
    show({"key_id": key_id, "file": str(into), "seals": "seals." in place}, [text], as_json=as_json)
    return DONE


@keys.command("list")
@keys_option
@json_option
@ends_with_status
def list_keys(*, keys: Path | None, as_json: bool) -> int:
    """List the keys of the ring by their ids: the first seals. The keys themselves stay hidden."""
    ring = key_ring(keys)
    data = [{"key_id": one, "seals": one == ring.newest} for one in ring.key_ids]
    rows = [(one, "seals and opens" if one == ring.newest else "opens") for one in ring.key_ids]
    show({"keys": data}, [table(("key", "use"), rows)], as_json=as_json)
    return DONE


def _read(path: Path) -> list[str]:
    if not path.exists():
        return []
    KeyRing.from_file(path)  # a file of something else is not added to
    return path.read_text(encoding="utf-8").splitlines()


def _replace(path: Path, text: str) -> None:
    """Write the whole file beside the old one, check it, and rename it: never half a key ring.

    Raises:
        ConfigurationError: It cannot be written, or has an id twice; the old file is as it was.
    """
    try:
        descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written. Check its directory.") from error
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        KeyRing.from_file(beside)
        if path.exists():
            beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
