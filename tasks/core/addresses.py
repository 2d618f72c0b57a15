"""Redaction of addresses: without user name, password and query, which may be credentials.

Credentials belong in the environment. A parameter with credentials is refused (`core.credentials`), because Prefect
stores and shows parameters; messages, logs and manifests still pass every address through `shown_uri`.
"""

import re
from typing import Final

LOCAL: Final = {"file", "local", "memory"}
"""Schemes of paths, in which `@`, `?` and `:` are part of a name."""

OBJECT_STORES: Final = {"gs", "gcs", "s3", "s3a"}
"""Schemes whose object names may hold `@` and `?`; only `?name=` counts as a query."""

CONTAINER_STORES: Final = {"abfs", "abfss", "wasb", "wasbs"}
"""Schemes of Azure, in which `container@account` is an address without user name."""

_LINK: Final = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_IN_TEXT: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"`<>]+")
_HOST: Final = re.compile(r"arn:[\w.:-]*|(\[[0-9A-Fa-f:.]*\]|[^:@\[\]]*)(:[0-9]*)?")
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)
_NAMED_QUERY: Final = re.compile(r"\?[\w.%-]+=[^\s'\"`<>]*")
_STORE_QUERY: Final = re.compile(r"\?[\w.%-]+=.*", re.DOTALL)


def shown_uri(uri: str) -> str:
    """Return an address without user name, password and query; of one that cannot be parsed, the scheme alone.

    Local paths and texts that are no URI are returned unchanged. In a chain (`a://…::b://…`), each link is redacted.
    """
    return "::".join(map(_shown_link, _LINK.split(uri)))


def scrubbed(text: str, uri: str = "") -> str:
    """Return a library's message with every address and query in it redacted.

    Args:
        text: Message, for example of an exception.
        uri: Address known to be in the message; needed to find one with spaces or quotes.
    """
    known = text.replace(uri, shown_uri(uri)) if uri else text
    return _NAMED_QUERY.sub("?…", _IN_TEXT.sub(lambda found: shown_uri(found[0]), known))


def _shown_link(link: str) -> str:
    found = _URI.fullmatch(link)
    scheme = found[1].lower() if found else ""
    if found is None or scheme in LOCAL:
        return link
    rest = found[2]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    below = rest[len(authority) :]
    host = authority.rpartition("@")[2]
    if scheme in CONTAINER_STORES and ":" not in authority:
        host = authority
    # a password may hold a slash or a question mark, and then does not end where the authority does
    is_cut = "@" in below and "@" not in authority and re.match(r"(?!arn:)[^\[:]*:", authority)
    if is_cut or not (_HOST.fullmatch(host) or scheme in CONTAINER_STORES):
        return f"{found[1]}://…"
    query = _STORE_QUERY if scheme in OBJECT_STORES else _QUERY
    return f"{found[1]}://{host}{query.sub('', below)}"
