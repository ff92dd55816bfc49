"""The configuration file: what the options say when neither they nor the environment do.

A TOML file with `store`, `keys` and `realm` as on the command line, and a table `policy`:

    store = "sqlite:////var/lib/mail/mfa.db"
    keys = "/etc/mail/mfakit.keys"

    [policy]
    profile = "NIST_800_63B"
    required = true
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click
from attrs import evolve, fields, frozen

from mfakit import policy as profiles
from mfakit.errors import ConfigurationError, PolicyError
from mfakit.policy import Policy

__all__ = ["Configuration", "configured"]

_PROFILES = ("DEFAULT", "NIST_800_63B", "ASVS_5")
_PATHS = ("store", "keys", "realm")


@frozen
class Configuration:
    """What a file says; an empty one says nothing.

    Args:
        values: The file as TOML parses it.
    """

    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Read a file.

        Raises:
            ConfigurationError: It cannot be read, or has a key that means nothing.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"{path} cannot be read as TOML. {error}") from error
        if unknown := set(values) - {*_PATHS, "policy"}:
            raise ConfigurationError(f"{path} has an unknown key: {min(unknown)}.")
        return cls(values)

    def policy(self) -> Policy:
        """Return the policy: a profile, and what the table sets beside it.

        Raises:
            PolicyError: No such profile or field, a value out of its range, or a contradiction.
        """
        asked = dict(self.values.get("policy", {}))
        profile = asked.pop("profile", "DEFAULT")
        if profile not in _PROFILES:
            raise PolicyError(f"profile must be one of {', '.join(_PROFILES)}.")
        if unknown := set(asked) - {field.name for field in fields(Policy)}:
            raise PolicyError(f"A policy has no {min(unknown)}.")
        made: Policy = evolve(getattr(profiles, profile), **asked)
        return made


def configured(name: str) -> Any:
    """Return what the file of this run says for an option, None if nothing."""
    found = click.get_current_context().find_object(Configuration)
    return None if found is None else found.values.get(name)
