"""Keys and what they seal: values inside a record, tokens that travel, the tag of a whole document.

AES-256-GCM under HKDF subkeys: one per record for its values, one per token. Everything that a value
belongs to is associated data, each part after its length, so a value moved to another account, item,
purpose or realm, or given other OTP parameters, does not open. Nothing is opened in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from hmac import compare_digest, digest
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import MsgspecError, msgpack

from mfakit.core.encoding import Random, decode_base64, encode_base64, frame
from mfakit.core.secret import Secret, Value
from mfakit.errors import RecordIntegrityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
SALT_BYTES = 16
NONCE_BYTES = 12
SEAL_TAG_BYTES = 16
TOKEN_CHARACTERS_MAX = 512
# Keys and derived ciphers are remembered per record up to this number of records.
_CIPHERS_REMEMBERED = 1024
_TOKEN_VERSION = 1
# How far a clock of another process may be ahead of this one.
CLOCK_SKEW_SECONDS = 60


# ------------------------------- what travels through the browser between two steps, never stored


class Payload(Value, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """What every token says."""

    account_id: str
    epoch: str
    issued_at: int
    lifetime_seconds: int

    @property
    def expires_at(self) -> int:
        """Unix second at which the token's own life ends."""
        return self.issued_at + self.lifetime_seconds


class Challenge(Payload, frozen=True):
    """The password was right; a code is still due. Spent by a success."""

    id: str


class Proof(Payload, frozen=True):
    """Somebody just proved who they are; `earned_by` says with what: "password" or an item's id."""

    earned_by: str


class OfferPayload(Payload, frozen=True):
    """The holder was shown this offer's secret."""

    offer_id: str


_KINDS: dict[type, bytes] = {Challenge: b"challenge", Proof: b"proof", OfferPayload: b"offer"}

P = TypeVar("P", bound=Payload)


def is_alive(payload: Payload, *, lifetime_seconds: int, now: int) -> bool:
    """Say whether a token is in time: of its own life and the policy's, the shorter counts."""
    age = now - payload.issued_at
    return -CLOCK_SKEW_SECONDS <= age < min(payload.lifetime_seconds, lifetime_seconds)


# ------------------------------------------------------------------------------------- the vault


class Keys(Protocol):
    """What sealing needs of a key ring; `mfakit.keyring.KeyRing` is one."""

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Every key id, the newest first."""

    def key(self, key_id: str) -> Secret:
        """Return one key, 32-64 bytes, or raise `KeyUnavailableError`."""


class Vault:
    """Seal and open for one realm.

    Args:
        keys: The key ring.
        realm: Name of this installation; what one realm sealed, another does not open.
        random: Source of random bytes.
    """

    def __init__(self, keys: Keys, realm: str, random: Random) -> None:
        self.keys = keys
        self.realm = realm
        self.random = random
        self._realm = realm.encode()
        self._value_cipher = lru_cache(_CIPHERS_REMEMBERED)(self._derive_value_cipher)
        self._tag_key = lru_cache(64)(self._derive_tag_key)
        self._fingerprint_key = Secret(random(KEY_BYTES))

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        return self.keys.key_ids[0]

    # -- values inside a record

    def seal_value(self, value: Secret, *, salt: str, context: Sequence[str]) -> str:
        """Seal a value of a record under the newest key.

        Args:
            value: The bytes to hide.
            salt: The record's salt; selects the record's own subkey (SP 800-38D §8.3).
            context: Purpose, account id, item id and parameters: what the value belongs to.

        Returns:
            "key-id.base64url(nonce, ciphertext, tag)".
        """
        key_id, nonce = self.newest, self.random(NONCE_BYTES)
        cipher, place = self._value_cipher(key_id, salt), self._value_context(key_id, context)
        sealed = cipher.encrypt(nonce, value.reveal(), place)
        return f"{key_id}.{encode_base64(nonce + sealed)}"

    def open_value(self, sealed: str, *, salt: str, context: Sequence[str]) -> Secret:
        """Open what `seal_value` returned, with the same salt and context.

        Raises:
            KeyUnavailableError: Its key is not in the ring; add the key.
            RecordIntegrityError: It was altered, or belongs elsewhere.
        """
        key_id, _, encoded = sealed.partition(".")
        cipher = self._value_cipher(key_id, salt)
        value = _decrypt(cipher, decode_base64(encoded), self._value_context(key_id, context))
        if value is None:
            raise RecordIntegrityError
        return value

    # -- tokens that travel

    def seal_token(self, payload: Payload, bound_to: Secret | None) -> str:
        """Seal a token for one purpose, under a key of its own.

        Args:
            payload: Its content; its class is the purpose, and another class does not open it.
            bound_to: A value that must be given again to open it, or None.

        Returns:
            URL-safe text of at most 512 characters.
        """
        key_id, salt = self.newest, self.random(SALT_BYTES)
        header = bytes([_TOKEN_VERSION, len(key_id)]) + key_id.encode() + salt
        cipher = self._derive_cipher(key_id, salt, b"token")
        context = self._token_context(header, type(payload), bound_to)
        # SECURITY: a fixed nonce is safe because the 128-bit salt gives each token its own key.
        sealed = cipher.encrypt(bytes(NONCE_BYTES), msgpack.encode(payload), context)
        return encode_base64(header + sealed)

    def open_token(self, kind: type[P], token: Secret | None, bound_to: Secret | None) -> P | None:
        """Return the payload of a token, or None if it is not one of this kind, realm and binding."""
        if token is None or len(token.reveal()) > TOKEN_CHARACTERS_MAX:
            return None
        data = decode_base64(token.reveal().decode())
        if data is None or len(data) < 2 or data[0] != _TOKEN_VERSION:
            return None
        end = 2 + data[1] + SALT_BYTES
        key_id = data[2 : 2 + data[1]].decode("ascii", "replace")
        if key_id not in self.keys.key_ids or len(data) < end:
            return None
        header, sealed = data[:end], Secret(bytes(NONCE_BYTES) + data[end:])
        del data  # SECURITY: fetching the key may fail, and a traceback would show the token.
        cipher = self._derive_cipher(key_id, header[-SALT_BYTES:], b"token")
        value = _decrypt(cipher, sealed.reveal(), self._token_context(header, kind, bound_to))
        try:
            return None if value is None else msgpack.decode(value.reveal(), type=kind)
        except (MsgspecError, UnicodeDecodeError):
            return None

    # -- the tag of a document

    def tag(self, key_id: str, *, account_id: str, revision: int, body: bytes) -> str:
        """Return the tag of a document: HMAC-SHA-256 over all that it is and where it belongs.

        Returns:
            64 lower-case hexadecimal digits.

        Raises:
            KeyUnavailableError: The key is not in the ring; add the key.
        """
        written = revision.to_bytes(8, "big")
        place = frame(key_id.encode(), self._realm, account_id.encode(), written)
        return digest(self._tag_key(key_id).reveal(), place + body, "sha256").hex()

    def tag_matches(
        self, tag: str, key_id: str, *, account_id: str, revision: int, body: bytes
    ) -> bool:
        """Compare a tag in constant time. Raises `KeyUnavailableError` as `tag` does."""
        expected = self.tag(key_id, account_id=account_id, revision=revision, body=body)
        return compare_digest(expected.encode(), tag.encode())

    # -- what stands for a text in this process

    def fingerprint(self, text: Secret) -> str:
        """Return what stands for a text where that must not be: equal for equal texts, no more."""
        return digest(self._fingerprint_key.reveal(), text.reveal(), "sha256").hex()

    # -- subkeys

    def _value_context(self, key_id: str, context: Sequence[str]) -> bytes:
        parts = [part.encode() for part in context]
        return frame(b"mfakit/v1/value", key_id.encode(), self._realm, *parts)

    def _token_context(self, header: bytes, kind: type[Payload], bound_to: Secret | None) -> bytes:
        binding = b"" if bound_to is None else b"\1" + bound_to.reveal()
        return frame(b"mfakit/v1/token", header, self._realm, _KINDS[kind], binding)

    def _derive_value_cipher(self, key_id: str, salt: str) -> AESGCM:
        return self._derive_cipher(key_id, salt.encode(), b"value")

    def _derive_cipher(self, key_id: str, salt: bytes, purpose: bytes) -> AESGCM:
        subkey = _subkey(self.keys.key(key_id), b"mfakit/v1", purpose, salt)
        return _primitives()[0](subkey.reveal())

    def _derive_tag_key(self, key_id: str) -> Secret:
        return _subkey(self.keys.key(key_id), b"mfakit/v1", b"document")


@cache
def _primitives() -> tuple[type[AESGCM], type[Exception]]:
    # Loaded on first use: importing mfakit must not load OpenSSL bindings.
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM, InvalidTag


def _subkey(key: Secret, *info: bytes) -> Secret:
    """Derive 32 bytes: HKDF-Expand with SHA-256, whose first block is all that 32 bytes need.

    Reference: RFC 5869 §2.3, T(1); without extraction, because the key is random already (§3.3).
    """
    return Secret(digest(key.reveal(), frame(*info) + b"\1", "sha256"))


def _decrypt(cipher: AESGCM, sealed: bytes | None, context: bytes) -> Secret | None:
    if sealed is None or len(sealed) < NONCE_BYTES + SEAL_TAG_BYTES:
        return None
    try:
        return Secret(cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context))
    except _primitives()[1]:
        return None
