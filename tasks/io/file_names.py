"""Names of files, in a store or an archive, as far as they are safe to show and to make ids of."""

import hashlib

from tasks.core.errors import ErrorCode
from tasks.io.other_files import MAC_ICON
from tasks.io.stored_objects import is_utf8

BAD_NAME = "The name of the file is not UTF-8, or holds control characters; rename it."


def is_plain(name: str) -> bool:
    """Return whether a name is UTF-8 without control characters, line ends or marks of direction."""
    return is_utf8(name) and name.isprintable()


def shown(name: str) -> str:
    r"""Return a name that UTF-8 can encode and that cannot change what is around it: `\n` becomes `\x0a`."""
    whole = name.encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in whole)


def told_apart(name: str) -> str:
    """Return a text that can be shown and that no other name has; of a plain name the name itself."""
    if is_plain(name):
        return name
    return f"{shown(name)}\t{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()}"


def member_refused(name: str) -> tuple[ErrorCode, str] | None:
    """Return why a member of an archive is refused for its name; None if it is not."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        return "unsafe_member", "The member's name points outside the archive; pack it anew, from within its folder."
    if parts[-1] == MAC_ICON or is_plain(name):  # the first is a system file
        return None
    return "bad_name", BAD_NAME
