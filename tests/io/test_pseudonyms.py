"""Ids and seals are the same every time, say nothing without the key, and open only with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import ConfigError
from tasks.io.pseudonyms import KEY_VARIABLE, MARK, Seal

ONE, OTHER = Seal(b"one key, of some length"), Seal(b"another key of a length")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(name=TEXTS, content=st.binary())
def test_what_is_closed_opens_with_the_same_key_only(name: str, content: bytes) -> None:
    """Names and contents come back whole; another key, or a changed byte, is an error and no garbage."""
    assert ONE.open_text(ONE.close_text(name)) == name
    closed = ONE.close(content)
    assert ONE.open(closed) == content
    assert ONE.close(content) == closed
    for seal, wrong in ((OTHER, closed), (ONE, closed[:-1] + bytes([closed[-1] ^ 1]))):
        with pytest.raises(ConfigError, match="another"):
            seal.open(wrong)


@given(names=st.lists(TEXTS, min_size=2, unique=True))
def test_ids_differ_as_names_do(names: list[str]) -> None:
    """Each name has an id of its own, another with each key, fit for a file name."""
    ids = {seal.id_of(name) for name in names for seal in (ONE, OTHER)}
    assert len(ids) == 2 * len(names)
    assert all(len(found) == 32 and found.isalnum() for found in ids)


@pytest.mark.parametrize("key", [None, "", "too short"])
def test_a_key_that_could_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    """No key, or a short one, is said in a sentence with what to do; the key itself is not in it."""
    monkeypatch.setenv(KEY_VARIABLE, key) if key is not None else monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="openssl rand") as caught:
        Seal.from_environment()
    assert not key or key not in str(caught.value)


def test_a_seal_does_not_show_its_secret() -> None:
    """What a log or a traceback prints of it holds no key; a text that was never closed is given back."""
    assert "one key" not in repr(ONE)
    assert ONE.open_text("gs://bucket/scan.png") == "gs://bucket/scan.png"
    assert ONE.close_text("x").startswith(MARK)
