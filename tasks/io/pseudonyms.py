"""Pseudonymisation with a key: ids by HMAC-SHA-256 (RFC 2104), addresses and indexes by AES-SIV (RFC 5297).

Both are deterministic on purpose: a second run has to find the ids and the tables of the first.
"""

import base64
import hmac
import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tasks.core.errors import ConfigError

KEY_VARIABLE: Final = "LESIONS_ID_KEY"
MIN_KEY_BYTES: Final = 16
MARK: Final = "sealed:"
N_ID_HEX: Final = 32
"""128 bits: two of 10^9 scans share an id with a chance below 10^-20."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Key for hashed ids and encrypted addresses.

    Attributes:
        secret: Secret from which the keys of both methods are derived.
    """

    secret: bytes = field(repr=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Return the seal with the key in `LESIONS_ID_KEY`.

        Raises:
            ConfigError: If there is no key, or one that could be guessed.
        """
        secret = os.environ.get(KEY_VARIABLE, "").encode()
        if len(secret) < MIN_KEY_BYTES:
            raise ConfigError(
                f"hash_ids needs a key of at least {MIN_KEY_BYTES} bytes in the environment variable {KEY_VARIABLE}; "
                f"{len(secret)} were found. `openssl rand -hex 32` makes one; keep it, or the ids change."
            )
        return cls(secret)

    def id_of(self, name: str) -> str:
        """Return the hashed id of a name."""
        return hmac.new(self._derived(b"ids", 32), _utf8(name), sha256).hexdigest()[:N_ID_HEX]

    def close(self, content: bytes) -> bytes:
        """Return content encrypted with the key."""
        return AESSIV(self._derived(b"content", 64)).encrypt(content, None)

    def open(self, closed: bytes) -> bytes:
        """Return content decrypted with the key.

        Raises:
            ConfigError: If it was encrypted with another key, or was changed.
        """
        try:
            return AESSIV(self._derived(b"content", 64)).decrypt(closed, None)
        except (InvalidTag, ValueError) as err:
            raise ConfigError(
                f"Something here was sealed with another {KEY_VARIABLE}, or is damaged. Use the key of the first run, "
                "or another output."
            ) from err

    def close_text(self, text: str) -> str:
        """Return a text encrypted with the key, with a mark."""
        return MARK + base64.urlsafe_b64encode(self.close(_utf8(text))).decode()

    def open_text(self, closed: str) -> str:
        """Return a text decrypted with the key; one without the mark is returned unchanged.

        Raises:
            ConfigError: If it was encrypted with another key, or was changed.
        """
        if not closed.startswith(MARK):
            return closed
        try:
            content = base64.urlsafe_b64decode(closed.removeprefix(MARK))
        except ValueError:
            content = b""
        return self.open(content).decode("utf-8", "surrogateescape")

    def _derived(self, purpose: bytes, n_bytes: int) -> bytes:
        return HKDF(SHA256(), n_bytes, salt=None, info=purpose).derive(self.secret)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
