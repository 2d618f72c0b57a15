"""Naming rules: patient, case and position of a slice from its file name, by declared patterns."""

import itertools
import re
from dataclasses import dataclass
from string import Formatter
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class SliceIdentity:
    """Identity of a slice: its source, patient, case and position.

    Attributes:
        source: Collection it comes from; splits are balanced over sources.
        patient_id: Patient; never in two splits.
        case_id: One volume of the patient.
        slice_index: Position along the first axis of the volume.
        is_known: False if no rule matched and the slice counts as a patient of its own.
    """

    source: str
    patient_id: str
    case_id: str
    slice_index: int
    is_known: bool = True


class SliceName(NamedTuple):
    """Name of an image.

    Attributes:
        stem: Path below the folder of images, without suffix.
        folder: Folder of the source that holds the folder of images, if there are several.
    """

    stem: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Naming:
    """Naming rule of files: a pattern for the name without suffix, and how ids are built from its groups."""

    pattern: re.Pattern[str]
    patient_id: str
    case_id: str
    source: str

    @property
    def needed(self) -> set[str]:
        """Groups of the pattern that the ids need."""
        return {name for _, name, _, _ in Formatter().parse(self.patient_id + self.case_id) if name}


# The public "COVID-19 CT scan lesion segmentation" set (Zenodo 3757476 and MosMedData as gathered there).
NAMINGS: dict[str, Naming] = {
    "coronacases": Naming(
        re.compile(r"^(?:[^_]+_)?coronacases_case(?P<case>\d+)_(?P<slice>\d+)$"),
        patient_id="coronacases_case{case}",
        case_id="coronacases_case{case}",
        source="coronacases",
    ),
    # The first number is the patient's; volumes of one patient differ in the rest.
    "radiopaedia": Naming(
        re.compile(r"^(?:[^_]+_)?radiopaedia_(?P<patient>\d+)_(?P<volume>\d+_\d+)_case(?P<case>\d+)_o?(?P<slice>\d+)$"),
        patient_id="radiopaedia_{patient}",
        case_id="radiopaedia_{patient}_{volume}_case{case}",
        source="radiopaedia",
    ),
    "morozov": Naming(
        re.compile(r"^(?:[^_]+_)?study_(?P<patient>\d+)_(?P<slice>\d+)$"),
        patient_id="morozov_{patient}",
        case_id="morozov_{patient}",
        source="morozov",
    ),
}


def custom_naming(pattern: str) -> Naming:
    """Return the naming rule of a regular expression with the group `patient`, optionally `case` and `slice`."""
    compiled = re.compile(pattern)
    case = "{patient}_{case}" if "case" in compiled.groupindex else "{patient}"
    return Naming(compiled, patient_id="{patient}", case_id=case, source="")


def identify_slice(stem: str, naming: Naming | None = None, *, folder: str = "") -> SliceIdentity:
    """Return the identity of the slice in a file.

    Args:
        stem: Path below the folder of images, without suffix.
        naming: Naming rule of the user; without it, those of public collections are tried. A rule is tried on the name
            alone, then on the whole path, so that it may take the patient from a folder.
        folder: Folder of the source that holds the folder of images, if there are several.

    Returns:
        The identity; if no rule matches, the slice counts as a patient of its own and `is_known` is False.
    """
    name = stem.rpartition("/")[2]
    texts = dict.fromkeys((name, stem, *([f"{folder}/{stem}"] if folder else [])))
    for rule, text in itertools.product([naming] if naming else NAMINGS.values(), texts):
        match = rule.pattern.search(text)
        groups = {name: text for name, text in (match.groupdict() if match else {}).items() if text is not None}
        position = groups.get("slice", "0")
        if groups.keys() >= rule.needed and position.isdecimal():
            return SliceIdentity(
                source=rule.source or _leading_word(name),
                patient_id=rule.patient_id.format(**groups),
                case_id=rule.case_id.format(**groups),
                slice_index=int(position),
            )
    own = stem.replace("/", "__")
    return SliceIdentity(_leading_word(name), patient_id=own, case_id=own, slice_index=0, is_known=False)


def _leading_word(stem: str) -> str:
    """Return the leading letters of a name, as the name of its source."""
    match = re.match(r"[^\W\d_]+", stem)
    return match.group().lower() if match else "unnamed"
