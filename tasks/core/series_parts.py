"""Parts of a DICOM series: which of its slices make a scan of their own, and which are left out and why.

One stranger does not cost a series: what is no slice is left out by its class, what differs from most slices by
majority. Phases, kernels and acquisitions under one UID become scans of their own, told apart by the tag under which
every slice has a place of its own.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np

from tasks.core.errors import NOT_SCAN_CODES, DataError, ErrorCode
from tasks.core.plural import counted
from tasks.core.slice_geometry import Arrangement, SlicePlane, arrange, is_same_stack

MIN_OWN_SLICES: Final = 5
"""Number of slices from which a minority is a scan of its own; fewer are strangers, such as an unmarked localiser."""

MAX_TAGS: Final = 3
"""Largest number of tags that tell scans of a series apart."""

MAX_STACKS: Final = 64
"""Largest number of sizes, spacings and orientations that are told apart; radial reformats have one a slice."""

N_DECIMALS: Final = 3
"""Decimals to which positions of copies agree, in mm."""

ON_NO_GRID: Final[frozenset[ErrorCode]] = frozenset(
    {"duplicate_position", "missing_slices", "shifted_slices", "unequal_spacing"}
)
"""Codes of slices that do not lie on one grid; fewer of them may."""


@dataclass(frozen=True, slots=True)
class SeriesSlice:
    """Slice of a series, by its header.

    Attributes:
        plane: Its plane.
        phase: Values of the tags that tell scans apart, by keyword.
        is_localiser: Whether it is an overview image and no slice.
        refused: Reason of its rejection.
    """

    plane: SlicePlane
    phase: dict[str, str]
    is_localiser: bool = False
    refused: tuple[ErrorCode, str] | None = None


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """Scan of a series.

    Attributes:
        members: Indices of its slices.
        found: Its arrangement, which counts along `members`; the reason of its rejection if there is none.
        label: What tells it apart from the other scans of the series; empty if it is the only one.
        warnings: Warnings for the user.
    """

    members: tuple[int, ...]
    found: Arrangement | DataError
    label: str = ""
    warnings: tuple[str, ...] = ()


Digests = Callable[[Sequence[int]], Sequence[str]]
"""Function from indices of slices to digests of their pixels; empty for one that cannot be read."""


def parts_of(slices: Sequence[SeriesSlice], digests: Digests) -> list[SeriesPart]:
    """Return the scans of a series; slices that belong to none are named in the warnings of the largest.

    Args:
        slices: All slices of the series.
        digests: Reads the pixels of slices; only called where two of them lie in one plane.
    """
    warnings: list[str] = []
    try:
        kept = _slices_proper(slices, warnings)
        stacks = _stacks(slices, kept, warnings)
    except DataError as err:
        return [SeriesPart(tuple(range(len(slices))), err)]
    parts: list[SeriesPart] = []
    for number, stack in enumerate(stacks):
        said = warnings if not number else []  # the largest carries what was left out
        label = f"stack {number + 1} of {len(stacks)}" if len(stacks) > 1 else ""
        parts.extend(_on_grids(slices, stack, digests, label, said))
    return parts


def _slices_proper(slices: Sequence[SeriesSlice], warnings: list[str]) -> list[int]:
    """Return the slices without localisers and without those that are refused, if these are the fewer."""
    kept = [index for index, one in enumerate(slices) if not one.is_localiser]
    n_localisers = len(slices) - len(kept)
    if not kept:
        raise DataError("localiser_only", f"The series holds {counted(n_localisers, 'localiser')} and no slice.")
    if n_localisers:
        warnings.append(f"{counted(n_localisers, 'localiser')} left out.")
    refusals = Counter(found for index in kept if (found := slices[index].refused))
    n_good = len(kept) - refusals.total()
    n_bad = sum(n for (code, _), n in refusals.items() if code not in NOT_SCAN_CODES)
    if refusals and (not n_good or n_bad >= n_good):
        raise DataError(*refusals.most_common(1)[0][0])
    for (_, sentence), n in refusals.items():
        warnings.append(f"{counted(n, 'image')} of the series left out: {sentence}")
    return [index for index in kept if not slices[index].refused]


def _stacks(slices: Sequence[SeriesSlice], kept: Sequence[int], warnings: list[str]) -> list[list[int]]:
    """Return slices of the same size, spacing and orientation, the most first; without a minority of few."""
    groups: list[list[int]] = []
    group_of: dict[SlicePlane, list[int]] = {}
    for index in kept:
        plane = replace(slices[index].plane, position=None if slices[index].plane.position is None else (0.0, 0.0, 0.0))
        group = group_of.get(plane) or _matching(groups, slices, index)
        group_of[plane] = group
        group.append(index)
    own, strangers = _by_majority(groups)
    if strangers:
        warnings.append(f"{counted(strangers, 'slice')} of another size, spacing or orientation left out.")
    return own


def _matching(groups: list[list[int]], slices: Sequence[SeriesSlice], index: int) -> list[int]:
    """Return the group that a slice belongs to, a new one if there is none."""
    for group in groups:
        if is_same_stack(slices[group[0]].plane, slices[index].plane):
            return group
    if len(groups) == MAX_STACKS:
        raise DataError(
            "mixed_geometry",
            f"The slices are of more than {MAX_STACKS} sizes, spacings or orientations, as of a radial reformat. Send "
            "the parallel slices.",
        )
    groups.append([])
    return groups[-1]


def _by_majority(groups: Sequence[list[int]]) -> tuple[list[list[int]], int]:
    """Return the groups that are scans of their own, the largest first, and the number of slices in the others."""
    ranked = sorted(groups, key=len, reverse=True)
    own = [group for group in ranked if len(group) >= min(MIN_OWN_SLICES, len(ranked[0]))]
    return own, sum(map(len, ranked[len(own) :]))


def _without_copies(
    slices: Sequence[SeriesSlice], members: Sequence[int], digests: Digests, warnings: list[str]
) -> list[int]:
    """Return slices without copies of others, the same plane and pixels; of copies the last is kept."""
    places: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for index in members:
        at = slices[index].plane.position
        if at is not None:
            places[tuple(np.round(at, N_DECIMALS).tolist())].append(index)
    shared = [indices for indices in places.values() if len(indices) > 1]
    doubled = [index for indices in shared for index in indices]
    pixels = dict(zip(doubled, digests(doubled), strict=True))
    copies: set[int] = set()
    damaged: set[int] = set()
    for indices in shared:
        whole = [index for index in indices if pixels[index]]
        if whole:
            damaged.update(set(indices) - set(whole))
        copies.update(set(whole) - set({pixels[index]: index for index in whole}.values()))
    if copies:
        warnings.append(f"{counted(len(copies), 'copy', 'copies')} of slices left out.")
    if damaged:
        warnings.append(f"{counted(len(damaged), 'damaged file')} left out; another shows the same slice.")
    return [index for index in members if index not in copies | damaged]


def _on_grids(
    slices: Sequence[SeriesSlice], members: Sequence[int], digests: Digests, label: str, warnings: list[str]
) -> Iterator[SeriesPart]:
    """Yield slices of one stack as a scan, or as several if that gives every slice a place of its own."""
    found, split = _arranged_or_split(slices, members)
    if split is None and isinstance(found, DataError) and found.code == "duplicate_position":
        members = _without_copies(slices, members, digests, warnings)
        found, split = _arranged_or_split(slices, members)
    if split:
        yield from _labelled(split, label, warnings)
    else:
        yield SeriesPart(tuple(members), found, label, tuple(warnings))


def _arranged_or_split(
    slices: Sequence[SeriesSlice], members: Sequence[int]
) -> tuple[Arrangement | DataError, "_Split | None"]:
    """Return the arrangement of slices as one scan, and where they lie on no grid the split that helps."""
    found = _arranged(slices, members)
    is_on_no_grid = isinstance(found, DataError) and found.code in ON_NO_GRID
    return found, _split(slices, members) if is_on_no_grid else None


def _arranged(slices: Sequence[SeriesSlice], members: Sequence[int]) -> Arrangement | DataError:
    try:
        return arrange([slices[index].plane for index in members])
    except DataError as err:
        return err


@dataclass(frozen=True, slots=True)
class _Split:
    keywords: tuple[str, ...]
    groups: list[list[int]]
    arranged: list[Arrangement]
    n_strangers: int


def _split(slices: Sequence[SeriesSlice], members: Sequence[int]) -> _Split | None:
    """Return the split by the fewest tags under which each scan lies on a grid; None if there is none."""
    keywords = [
        keyword
        for keyword in slices[members[0]].phase
        if len({slices[index].phase.get(keyword) for index in members}) > 1
    ]
    for n_tags in range(1, min(MAX_TAGS, len(keywords)) + 1):
        for chosen in combinations(keywords, n_tags):
            found = _split_by(slices, members, chosen)
            if found:
                return found
    return None


def _split_by(slices: Sequence[SeriesSlice], members: Sequence[int], keywords: tuple[str, ...]) -> _Split | None:
    groups: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for index in members:
        groups[tuple(slices[index].phase.get(keyword) for keyword in keywords)].append(index)
    own, n_strangers = _by_majority(list(groups.values()))
    arranged = []
    for group in own:
        found = _arranged(slices, group)
        if len(group) < 2 or isinstance(found, DataError):
            return None
        if found.missing and n_strangers:  # a stranger may be what is missing
            return None
        arranged.append(found)
    return _Split(keywords, own, arranged, n_strangers)


def _labelled(split: _Split, label: str, warnings: list[str]) -> Iterator[SeriesPart]:
    """Yield the scans of a split, each with what tells it apart."""
    told_by = " and ".join(split.keywords)
    if split.n_strangers:
        warnings = [*warnings, f"{counted(split.n_strangers, 'slice')} of another {told_by} left out."]
    for number, (group, found) in enumerate(zip(split.groups, split.arranged, strict=True)):
        is_only = len(split.groups) == 1
        name = label if is_only else ", ".join(filter(None, [label, f"{told_by} {number + 1} of {len(split.groups)}"]))
        said = [] if is_only else [f"The series holds {len(split.groups)} scans, told apart by {told_by}; this is one."]
        yield SeriesPart(tuple(group), found, name, (*said, *(warnings if not number else ())))
