"""Files that nobody wrote: scans and archives, good and bad, damaged at random; and a process that reads them."""

import contextlib
import gzip
import json
import resource
import shutil
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from tasks.io.time_limit import time_limit
from tests.bad_inputs import ARCHIVES, FILES, GRID, VOXELS, Files, good, pack, png, series
from tests.hostile_volumes import HOSTILE
from tests.stages.bright import bright_run, scans_of, segment
from tests.volumes import to_nifti

LIMIT_BYTES = 4 << 30
LIMIT_S = 20
LARGEST_BYTES = 1 << 20
"""Of what is damaged: larger ones take longer and teach no more."""

GZIP = b"\x1f\x8b"
FAULTS = {"internal_error", "out_of_memory", "timed_out"}
"""Codes that blame us: no file may come to them."""

NUMBERS = (0, 1, 2, 255, 32_767, 65_535, 100_000, (1 << 31) - 1, (1 << 32) - 1)
"""What sizes, counts and offsets should not be."""


def seeds(folder: Path) -> list[Files]:
    """Return what is damaged: scans and archives of every format and packing, good ones and such as are bad already."""
    volumes = {Path(name).suffix: {name: content} for name, content in good().items()}
    members = {f"folder/{n}.png": png(20 + n) for n in range(4)} | {"a.nii.gz": to_nifti(VOXELS, GRID)}
    archives = []
    for packing in ("zip", "tar", "tgz"):
        pack(packing, members | series("s", 91), folder / f"whole.{packing}")
        archives.append({f"whole.{packing}": (folder / f"whole.{packing}").read_bytes()})
    bad = [make() for _, make in (*FILES.values(), *ARCHIVES.values())]
    headers = [{f"a{suffix}": content} for suffix, _, content in HOSTILE.values()]
    found = (list(volumes.values()) + archives) * 5 + bad + headers
    return [files for files in found if max(map(len, files.values())) < LARGEST_BYTES]


def mutated(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    """Return a content cut short, with bytes or numbers overwritten, or with a piece of another file in it."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        near = min(600, len(changed)) if rng.random() < 0.7 else len(changed)
        first = int(rng.integers(0, near + 1))
        match rng.integers(6):
            case 0:
                changed[first : first + 1] = bytes([1 << rng.integers(8)])
            case 1:
                changed[first : first + 8] = rng.bytes(int(rng.integers(1, 9)))
            case 2:
                number = NUMBERS[rng.integers(len(NUMBERS))]
                order = "little" if rng.random() < 0.7 else "big"
                width = int(rng.choice([1, 2, 4]))
                changed[first : first + width] = (number % (1 << 8 * width)).to_bytes(width, order)
            case 3:
                start = int(rng.integers(0, len(other) + 1))
                length = int(rng.choice([4, 64, 1000]))
                changed[first : first + length] = other[start : start + length]
            case 4:
                del changed[first : first + int(rng.choice([1, 4, 300]))]
            case _ if rng.random() < 0.3:
                del changed[first:]
    return bytes(changed)


def damaged(rng: np.random.Generator, found: list[Files]) -> tuple[str, bytes]:
    """Return the name and content of one damaged file."""
    (path, content), (_, other) = (
        list(files.items())[rng.integers(len(files))] for files in (found[n] for n in rng.integers(len(found), size=2))
    )
    if content[:2] == GZIP and rng.random() < 0.7:  # else its checksum answers for all that is inside
        with contextlib.suppress(OSError, EOFError, zlib.error):
            return Path(path).name, gzip.compress(mutated(rng, gzip.decompress(content)[:LARGEST_BYTES], other), 1)
    return Path(path).name, mutated(rng, content, other)


def write_damaged(folder: Path, n: int, seed: int) -> None:
    """Write damaged files, each in a folder of its own, so that no two are one series."""
    folder.mkdir(parents=True)
    rng, found = np.random.default_rng(seed), seeds(folder.parents[1])
    for number in range(n):
        name, content = damaged(rng, found)
        path = folder / f"{number:05d}" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)


def main(folder: Path, n: int, seed: int) -> None:
    """Take damaged files one by one through a run, within limits of memory and time; print what became of them."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    rng, found = np.random.default_rng(seed), seeds(folder)
    codes: Counter[str] = Counter()
    longest_s = 0.0
    for number in range(n):
        name, content = damaged(rng, found)
        path = folder / "scans" / name
        path.parent.mkdir()
        path.write_bytes(content)
        start = time.monotonic()
        with time_limit(LIMIT_S):
            run = bright_run(str(path.parent), str(folder / "output"), settle_minutes=0)
            rows = list(segment(run, scans_of(run)))
        longest_s = max(longest_s, time.monotonic() - start)
        found_codes = {row.error_code or row.status for row in rows}
        if found_codes & FAULTS:
            (folder / f"fault-{seed}-{number}-{name}").write_bytes(content)
        codes.update(found_codes or {"no row"})
        shutil.rmtree(path.parent)
        shutil.rmtree(folder / "output", ignore_errors=True)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    sys.stdout.write(json.dumps({"codes": codes, "longest_s": longest_s, "peak_bytes": peak_bytes}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
