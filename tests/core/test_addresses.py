"""What is shown of an address never opens anything, and says where it points wherever that can be told."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.core.addresses import scrubbed, shown_uri
from tasks.core.credentials import require_no_credentials
from tasks.core.errors import ConfigError

SECRET = "hunter2"  # noqa: S105 - it is nobody's


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"http://user:{SECRET}@host/a/b?token={SECRET}", "http://host/a/b"),
        (f"https://{SECRET}@host:8080/a", "https://host:8080/a"),
        (f"https://host/a.zip?X-Amz-Signature={SECRET}&b=c!/member.png", "https://host/a.zip"),
        (f"https://host/a?{SECRET}", "https://host/a"),
        (f"https://host/a#access_token={SECRET}", "https://host/a"),
        (f"HTTPS://user:{SECRET}@[::1]:80/a", "HTTPS://[::1]:80/a"),
        (f"sftp://user:{SECRET}@host/a@b.png", "sftp://host/a@b.png"),
        (f"s3://key:{SECRET}@bucket/a", "s3://bucket/a"),
        (f"s3://bucket/a?X-Amz-Signature={SECRET}", "s3://bucket/a"),
        (f"abfs://user:{SECRET}@account/a", "abfs://account/a"),
        (f"simplecache::https://user:{SECRET}@host/a", "simplecache::https://host/a"),
        (f"zip://a.png::https://u:{SECRET}@host/a.zip?t={SECRET}", "zip://a.png::https://host/a.zip"),
        # a password may hold what ends an authority; then nothing can be told
        (f"https://user:ab/{SECRET}@host/a", "https://…"),
        (f"https://user:12/{SECRET}@host/a", "https://…"),
        (f"https://user:ab?{SECRET}@host/a", "https://…"),
        (f"s3://KEY:ab/{SECRET}@bucket/a", "s3://…"),
        (f"https://user:{SECRET}", "https://…"),
    ],
)
def test_credentials_are_not_shown_and_not_taken(uri: str, shown: str) -> None:
    """User name, password and query go, the place stays; as a parameter such an address is refused without them."""
    assert shown_uri(uri) == shown
    with pytest.raises(ConfigError, match="through the environment") as caught:
        require_no_credentials(uri)
    assert SECRET not in str(caught.value)
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "/data/a b/c@d?e=f:g.png",
            "a:b@c",
            "file:///data/x?y=1@z#2",
            "memory://a/b?c=d",
            "data",
            "",
            "auto",
            "h:6379",
        ),
        *("s3://bucket/a@b.png", "gs://bucket/what?.png", "gs://bucket/a.zip!/b c@d.png", "gs://bucket/a#1.png"),
        *("https://host:8265", "https://host/a@b.png", "abfs://container@account.dfs/a", "gs://", "://", "a::b"),
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/a@b",
    ],
)
def test_names_are_shown_as_they_are(uri: str) -> None:
    """What a path or an object's name may hold is no credential."""
    assert shown_uri(uri) == uri
    require_no_credentials(uri)


@pytest.mark.parametrize(
    "text",
    [
        f"403, message='Forbidden', url='https://user:{SECRET}@host/a?token={SECRET}'",
        f"Cannot reach URL('http://{SECRET}@host/a'), giving up",
        f"HTTPSConnectionPool(host='host', port=443): Max retries exceeded with url: /a?token={SECRET} (Caused by x)",
        f'endpoint URL: "https://bucket.s3.amazonaws.com/a?X-Amz-Signature={SECRET}"',
    ],
)
def test_a_librarys_sentence_is_scrubbed(text: str) -> None:
    """Addresses in what a library says are shown like any other, and what is none stays."""
    assert SECRET not in scrubbed(text)
    assert "host" in scrubbed(text) or "/a" in scrubbed(text)
    assert scrubbed("No such file: '/data/a@b'") == "No such file: '/data/a@b'"


def test_an_address_that_is_known_is_scrubbed_whatever_it_holds() -> None:
    """A password with quotes and spaces is found where the address is known."""
    uri = f"https://user:it's {SECRET}@host/a"
    assert scrubbed(f"ClientError: {uri} refused", uri) == "ClientError: https://host/a refused"


@given(st.text(max_size=40), st.text(max_size=40))
@example("https://[", "]")
@example("https://a:b", "@")
def test_showing_never_raises_and_shows_no_password(before: str, after: str) -> None:
    """Whatever text is taken for an address, showing is no error, and what was shown is shown as it is."""
    for text in (before, f"https://{before}/{after}", f"s3://{before}@{after}", f"{before}::{after}"):
        assert shown_uri(shown_uri(text)) == shown_uri(text)
        assert isinstance(scrubbed(text), str)
    password = "".join(letter for letter in before if letter not in "@:") + SECRET
    assert SECRET not in shown_uri(f"https://user:{password}@host/{after.replace('@', '')}".replace("::", ":"))
