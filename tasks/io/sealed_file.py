"""Files that are encrypted if ids are hashed."""

from dataclasses import dataclass

from tasks.io import storage
from tasks.io.pseudonyms import Seal


@dataclass(frozen=True, slots=True)
class SealedFile:
    """File that is encrypted with a key, if there is one.

    Attributes:
        uri: URI of the file.
        seal: Key; None stores the content as it is.
    """

    uri: str
    seal: Seal | None = None

    def write(self, content: bytes) -> None:
        """Publish the content.

        Raises:
            StorageError: If the store refuses or does not answer.
        """
        storage.publish(self.uri, self.seal.close(content) if self.seal else content)

    def read(self) -> bytes:
        """Return the content.

        Raises:
            ConfigError: If it was encrypted with another key.
            ValueError: If it is incomplete.
            StorageError: If it is gone or the store does not answer.
        """
        content = storage.read_bytes(self.uri)
        return self.seal.open(content) if self.seal else content
