import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.digests import digest

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS, max_size=3)


def test_a_digest_is_that_of_canonical_json() -> None:
    """Anyone can recompute it: sorted keys, no spaces, ASCII."""
    expected = hashlib.sha256(b'{"a":[1,"\\u00e9"],"b":null}').hexdigest()
    assert digest(b=None, a=[1, "é"]) == expected


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), VALUES, max_size=4))
def test_the_order_of_parts_does_not_matter(parts: dict) -> None:
    """The same parts in another order have the same digest, one more part has another."""
    assert digest(**parts) == digest(**dict(reversed(parts.items())))
    assert digest(**parts) != digest(**parts, further=None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "1", "b": "2"}, {"a": "1:2", "b": ""}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {"a": "null"}),
        ({"a": None}, {}),
        ({"a": ["b", "c"]}, {"a": ["b\nc"]}),
        ({"a": True}, {"a": 1}),
    ],
)
def test_parts_that_differ_have_another_digest(one: dict, other: dict) -> None:
    """No value passes for another, of another type, or for the border between two."""
    assert digest(**one) != digest(**other)


def test_a_name_that_is_no_unicode_has_a_digest() -> None:
    """Names of files may hold bytes that are no UTF-8, which Python carries as surrogates."""
    assert digest(name="a\udcff") != digest(name="a\udcfe")


def test_what_is_no_number_is_refused() -> None:
    """NaN equals nothing, so nothing can be the same as what holds it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(a=float("nan"))
