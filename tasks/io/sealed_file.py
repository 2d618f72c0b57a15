"""A file of ours whose content is closed with a key, where names are to be kept from readers of the output."""

from dataclasses import dataclass

from tasks.io import storage
from tasks.io.pseudonyms import Seal


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file and what its content is closed with.

    Attributes:
        uri: Where it lies.
        seal: None leaves it open.
    """

    uri: str
    seal: Seal | None = None

    def write(self, content: bytes) -> None:
        """Publish it.

        Raises:
            StorageError: If the store refuses or does not answer.
        """
        storage.publish(self.uri, self.seal.close(content) if self.seal else content)

    def read(self) -> bytes:
        """Return its content.

        Raises:
            ConfigError: If it was closed with another key.
            ValueError: If it is not whole.
            StorageError: If it is gone or the store does not answer.
        """
        content = storage.read_bytes(self.uri)
        return self.seal.open(content) if self.seal else content
