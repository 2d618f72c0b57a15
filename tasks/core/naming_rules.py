"""Whose slice is it? Patient, case and position, read from a file's name by declared rules, never guessed."""

import re
from dataclasses import dataclass
from string import Formatter


@dataclass(frozen=True, slots=True)
class SliceIdentity:
    """Where a slice belongs.

    Attributes:
        source: Collection it comes from; splits are balanced over sources.
        patient_id: The person; never on two sides of a split.
        case_id: One volume of that patient.
        slice_index: Position along the volume's first axis.
        is_known: False when no rule matched and the slice was made a patient of its own.
    """

    source: str
    patient_id: str
    case_id: str
    slice_index: int
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class Naming:
    """A naming of files: a pattern over the name without suffix, and how ids are built from its groups."""

    pattern: re.Pattern[str]
    patient_id: str
    case_id: str
    source: str

    @property
    def needed(self) -> set[str]:
        """Groups that must have matched for the ids to be known."""
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
    """Return the naming a user declared by a regular expression with `patient`, maybe `case` and `slice` groups."""
    compiled = re.compile(pattern)
    case = "{patient}_{case}" if "case" in compiled.groupindex else "{patient}"
    return Naming(compiled, patient_id="{patient}", case_id=case, source="")


def identify_slice(stem: str, naming: Naming | None = None) -> SliceIdentity:
    """Return whose slice the file of that name is.

    Args:
        stem: File name without folder and suffix.
        naming: The user's own naming; without it the known public namings are tried.

    Returns:
        The identity; where no rule matches, the slice is its own patient and `is_known` is False.
    """
    for rule in [naming] if naming else NAMINGS.values():
        match = rule.pattern.search(stem)
        groups = {name: text for name, text in (match.groupdict() if match else {}).items() if text is not None}
        position = groups.get("slice", "0")
        if groups.keys() >= rule.needed and position.isdecimal():
            return SliceIdentity(
                source=rule.source or _leading_word(stem),
                patient_id=rule.patient_id.format(**groups),
                case_id=rule.case_id.format(**groups),
                slice_index=int(position),
            )
    return SliceIdentity(_leading_word(stem), patient_id=stem, case_id=stem, slice_index=0, is_known=False)


def _leading_word(stem: str) -> str:
    """Return the letters a name starts with, as the name of its source."""
    match = re.match(r"[^\W\d_]+", stem)
    return match.group().lower() if match else "unnamed"
