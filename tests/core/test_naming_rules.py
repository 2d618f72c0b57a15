import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.naming_rules import NAMINGS, SliceIdentity, custom_naming, identify_slice

ASCII = st.characters(codec="ascii")


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        (
            "Jun_coronacases_case10_100",
            SliceIdentity("coronacases", "coronacases_case10", "coronacases_case10", 100),
        ),
        ("coronacases_case3_0", SliceIdentity("coronacases", "coronacases_case3", "coronacases_case3", 0)),
        (
            "Jun_radiopaedia_10_85902_1_case11_o003",
            SliceIdentity("radiopaedia", "radiopaedia_10", "radiopaedia_10_85902_1_case11", 3),
        ),
        (
            "Jun_radiopaedia_10_85902_3_case12_17",
            SliceIdentity("radiopaedia", "radiopaedia_10", "radiopaedia_10_85902_3_case12", 17),
        ),
        ("Morozov_study_0255_12", SliceIdentity("morozov", "morozov_0255", "morozov_0255", 12)),
        ("bjorke_5", SliceIdentity("bjorke", "bjorke_5", "bjorke_5", 0, is_known=False)),
    ],
)
def test_public_names_are_read_as_published(stem: str, expected: SliceIdentity) -> None:
    """The names of the public set give the patients, volumes and positions they stand for."""
    assert identify_slice(stem) == expected


@pytest.mark.parametrize("name", NAMINGS)
@given(data=st.data())
def test_naming_claims_its_own_names_alone(name: str, data: st.DataObject) -> None:
    """Whatever a naming's pattern matches is known, of its source, claimed by no other naming, and placed."""
    naming = NAMINGS[name]
    stem = data.draw(st.from_regex(naming.pattern, fullmatch=True, alphabet=ASCII))
    found = identify_slice(stem)
    assert [key for key, other in NAMINGS.items() if other.pattern.search(stem)] == [name]
    assert found.is_known
    assert found.source == naming.source
    assert found.case_id.startswith(found.patient_id)
    assert str(found.slice_index) == stem[-len(str(found.slice_index)) :]


@pytest.mark.parametrize("name", NAMINGS)
@given(data=st.data(), slice_index=st.integers(0, 999))
def test_slices_of_one_volume_differ_in_their_position_alone(name: str, data: st.DataObject, slice_index: int) -> None:
    """Exchanging the slice number in a name changes the position and neither patient nor case."""
    stem = data.draw(st.from_regex(NAMINGS[name].pattern, fullmatch=True, alphabet=ASCII))
    match = NAMINGS[name].pattern.search(stem)
    assert match is not None
    sibling = stem[: match.start("slice")] + str(slice_index) + stem[match.end("slice") :]
    one, other = identify_slice(stem), identify_slice(sibling)
    assert (one.patient_id, one.case_id) == (other.patient_id, other.case_id)
    assert other.slice_index == slice_index


@given(st.text(alphabet="study_cas09é -", min_size=1, max_size=30))
def test_unknown_name_is_a_patient_of_its_own(stem: str) -> None:
    """No patient is guessed: a name no rule matches is its own patient, and marked as such."""
    known = any(naming.pattern.search(stem) for naming in NAMINGS.values())
    found = identify_slice(stem)
    assert found.is_known == known
    if not known:
        assert (found.patient_id, found.case_id, found.slice_index) == (stem, stem, 0)


def test_declared_pattern_reads_patient_and_position() -> None:
    """Without a case group, a patient has one volume."""
    naming = custom_naming(r"^(?P<patient>p\d+)_(?P<slice>\d+)$")
    assert identify_slice("p07_012", naming) == SliceIdentity("p", "p07", "p07", 12)


def test_declared_pattern_tells_volumes_apart() -> None:
    """Slices share a case exactly when patient and case number agree: two patients may both have a volume 1."""
    naming = custom_naming(r"^(?P<patient>[a-z]+)_(?P<case>\d+)_(?P<slice>\d+)$")
    ann_1, ann_1_next, ann_2, bob_1 = (
        identify_slice(stem, naming) for stem in ("ann_1_0", "ann_1_1", "ann_2_0", "bob_1_0")
    )
    assert (ann_1.patient_id, ann_2.patient_id, bob_1.patient_id) == ("ann", "ann", "bob")
    assert ann_1.case_id == ann_1_next.case_id
    assert len({ann_1.case_id, ann_2.case_id, bob_1.case_id}) == 3


def test_declared_pattern_without_a_position_gives_the_first() -> None:
    """A name without slice number is the only slice of its case."""
    assert identify_slice("Lyon-7", custom_naming(r"(?P<patient>\d+)")) == SliceIdentity("lyon", "7", "7", 0)


def test_declared_pattern_replaces_the_public_ones() -> None:
    """What a user declares is the only rule: a public name it does not match is unknown."""
    found = identify_slice("coronacases_case3_0", custom_naming(r"^(?P<patient>p\d+)$"))
    assert found == SliceIdentity("coronacases", "coronacases_case3_0", "coronacases_case3_0", 0, is_known=False)


@pytest.mark.parametrize(("stem", "source"), [("Émile_3", "émile"), ("12_3", "unnamed"), ("_x", "unnamed")])
def test_source_of_an_undeclared_name_is_its_leading_word(stem: str, source: str) -> None:
    """Splits are balanced over the words that names begin with; digits are no word."""
    assert identify_slice(stem).source == source


def test_an_optional_patient_that_is_absent_is_unknown() -> None:
    """A pattern that matches without its patient group invents no patient."""
    assert not identify_slice("_3", custom_naming(r"^(?P<patient>p\d+)?_(?P<slice>\d+)$")).is_known


def test_a_position_that_is_no_number_is_unknown() -> None:
    """A slice group that catches letters does not identify a slice."""
    assert not identify_slice("p1_a", custom_naming(r"^(?P<patient>p\d+)_(?P<slice>\w+)$")).is_known
