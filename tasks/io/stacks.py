"""Stacks: slice files joined into scans by a declared pattern."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from tasks.core.digests import digest
from tasks.core.errors import ErrorCode
from tasks.core.volumes import MAX_SIDE
from tasks.io.formats import STACK, is_slice
from tasks.io.scan_sources import ScanSource

MAX_DIGITS = 9


def stack(scans: Iterable[ScanSource], pattern: str) -> list[ScanSource]:
    """Return scans with slice files joined into stacks by a pattern; others are returned unchanged.

    Args:
        scans: Scans of any kind, without ids.
        pattern: Regular expression over a whole path without suffix, with the groups `scan` and `slice`, a number.
    """
    rule = re.compile(pattern)
    kept: list[ScanSource] = []
    stacks: dict[str, list[tuple[int, ScanSource]]] = defaultdict(list)
    for scan in scans:
        match = rule.fullmatch(scan.path) if is_slice(scan.uri) else None
        number = (match["slice"] if match else None) or ""
        if match and match["scan"] and number.isdecimal() and len(number) <= MAX_DIGITS:
            stacks[match["scan"]].append((int(number), scan))
        else:
            kept.append(scan)
    return [*kept, *(_joined(path, sorted(slices, key=lambda s: s[0])) for path, slices in stacks.items())]


def _joined(path: str, slices: list[tuple[int, ScanSource]]) -> ScanSource:
    numbers = tuple(number for number, _ in slices)
    parts = tuple(replace(part, path="", identity="") for _, part in slices)
    times = [part.modified_s for part in parts if part.modified_s is not None]
    return ScanSource(
        path,
        f"{path}\tstack",
        parts[0].uri.rpartition("/")[0],
        digest(slices=[part.fingerprint for part in parts]),
        STACK,
        n_slices=len(parts),
        modified_s=max(times, default=None),
        refused=_refused(numbers, parts),
        can_be_cut=True,
        parts=parts,
        positions=numbers,
        warnings=tuple(_warnings(numbers)),
    )


def _refused(numbers: tuple[int, ...], parts: tuple[ScanSource, ...]) -> tuple[ErrorCode, str] | None:
    doubles = [number for number, n in Counter(numbers).items() if n > 1]
    if doubles:
        return "duplicate_slice", f"{len(doubles)} numbers of slices stand twice, the first is {doubles[0]}; keep one."
    if len(parts) > MAX_SIDE:
        return "too_large", f"The stack has {len(parts)} slices; at most {MAX_SIDE} are segmented. Split it."
    for number, part in zip(numbers, parts, strict=True):
        if part.refused:
            return part.refused[0], f"Slice {number}: {part.refused[1]}"
    return None


def _warnings(numbers: tuple[int, ...]) -> Iterable[str]:
    yield "The slices have no position in space; the mask counts voxels."
    n_missing = max(numbers) - min(numbers) + 1 - len(set(numbers))
    if n_missing:
        yield f"{n_missing} numbers between the first slice and the last have no slice."
