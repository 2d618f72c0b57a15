"""Addresses as they may be shown: without user name, password and query, which open what they point to.

Credentials belong in the environment. A parameter that holds some is refused (`core.credentials`), because
Prefect stores and shows parameters; sentences, logs and manifests show every address by `shown_uri` all the same.
"""

import re
from typing import Final

LOCAL: Final = {"file", "local", "memory"}
"""Schemes of paths: `@`, `?` and `:` are part of a name."""

OBJECT_STORES: Final = {"gs", "gcs", "s3", "s3a"}
"""Schemes whose names may hold `@` and `?`; `?name=` is taken for a query all the same."""

CONTAINER_STORES: Final = {"abfs", "abfss", "wasb", "wasbs"}
"""Schemes in which `container@account` is a place, as Azure writes it, and no user name."""

_LINK: Final = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_IN_TEXT: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"`<>]+")
_HOST: Final = re.compile(r"arn:[\w.:-]*|(\[[0-9A-Fa-f:.]*\]|[^:@\[\]]*)(:[0-9]*)?")
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)
_NAMED_QUERY: Final = re.compile(r"\?[\w.%-]+=[^\s'\"`<>]*")
_STORE_QUERY: Final = re.compile(r"\?[\w.%-]+=.*", re.DOTALL)


def shown_uri(uri: str) -> str:
    """Return an address without user name, password and query; one that cannot be taken apart as its scheme alone.

    Local paths come back as they are, and so does what is no URI. Of a chain (`a://…::b://…`), each link is shown so.
    """
    return "::".join(map(_shown_link, _LINK.split(uri)))


def scrubbed(text: str, uri: str = "") -> str:
    """Return what a library says with every address in it, and every query, as they may be shown.

    Args:
        text: Of an exception, say.
        uri: An address that is known to stand in it: one with spaces or quotes is found only so.
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
