"""Thousands of headers and packed voxels made to mislead: no file is opened, and no other voxels are read."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import DataError
from tests.hostile_volumes import (
    ELSEWHERE,
    HEADERS,
    HOSTILE,
    PACKED,
    PACKED_HEADERS,
    PACKED_SMOOTH,
    RAW,
    READERS,
    SMOOTH,
    VOXELS,
)

pytestmark = [pytest.mark.soak]

N_FILES = 2000
N_CHILDREN = 20

TOKENS = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"=",
        b":",
        b" ",
        b"\t",
        b"#",
        b"\0",
        b"\xff",
        b"-1",
        b"0",
        b"9" * 19,
        b"%d",
        b"~",
    ),
    *(b"ElementDataFile", b"data file:", b"LOCAL", b"LIST", b"NDims", b"DimSize", b"sizes", b"encoding: gzip"),
    *(ELSEWHERE, b"../../etc/passwd", b"/dev/zero", b"x" * (64 << 10)),
)
"""What headers are made of, and what they should not hold."""

CHILD = """
import sys
from pathlib import Path
from tasks.core.errors import DataError
from tests.hostile_volumes import HEADERS, RAW, READERS

for suffix, read in READERS.items():  # all that is imported late is imported before the mark
    read(HEADERS[suffix] + RAW).check()
folder = Path(sys.argv[1])
paths = sorted(folder.iterdir())
n_read = 0
open("/dev/null").close()  # the mark
for path in paths:
    try:
        READERS[path.suffix](path.read_bytes())
        n_read += 1
    except DataError:
        pass
print(len(paths), n_read)
"""


def _mutated(rng: np.random.Generator) -> tuple[str, bytes]:
    """Return the suffix and content of a file: a hostile or a good one, changed in one to three places."""
    seeds = [(suffix, header + RAW) for suffix, header in HEADERS.items()]
    if rng.random() < 0.5:
        seeds = [(suffix, content) for suffix, _, content in HOSTILE.values()]
    suffix, content = seeds[rng.integers(len(seeds))]
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        first = int(rng.integers(0, min(len(changed), 600) + 1))
        last = first + int(rng.choice([0, 0, 0, 1, 4, 20]))
        changed[first:last] = TOKENS[rng.integers(len(TOKENS))] if rng.random() < 0.8 else b""
    return suffix, bytes(changed)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_header_makes_a_reader_open_a_file(tmp_path: Path) -> None:
    """Under strace, a process that reads mutated files opens these and no other, and none of them kills it."""
    rng = np.random.default_rng(20)
    n_found = n_read = 0
    for child in range(N_CHILDREN):
        folder, log = tmp_path / f"files{child}", tmp_path / f"opened{child}"
        folder.mkdir()
        for number in range(N_FILES // N_CHILDREN):
            suffix, content = _mutated(rng)
            (folder / f"{number:04d}{suffix}").write_bytes(content)
        tracing = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=?open,openat,?openat2,?creat", "-o", str(log)]
        done = subprocess.run(
            [*tracing, sys.executable, "-c", CHILD, str(folder)], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        opened = re.findall(r'"([^"]*)"', log.read_text())
        assert opened.count("/dev/null") == 1
        since = opened[opened.index("/dev/null") + 1 :]
        files = sorted(map(str, folder.iterdir()))
        assert [path for path in since if path in files] == files
        assert not [path for path in since if path not in files]
        n_found += len(files)
        n_read += int(done.stdout.split()[1])
    sys.stdout.write(f"{n_found} files, {n_read} of them read, no other opened\n")
    assert n_found == N_FILES
    assert 0 < n_read < N_FILES


def test_no_packed_voxels_are_read_but_the_undamaged() -> None:
    """Whatever is done to packed bytes, the file is refused or read with the voxels it was written with."""
    rng = np.random.default_rng(21)
    n_read = 0
    for number in range(N_FILES):
        suffix = (".mha", ".nrrd")[number % 2]
        packed, voxels = ((PACKED, VOXELS), (PACKED_SMOOTH, SMOOTH))[number // 2 % 2]
        body = bytearray(packed[suffix])
        for _ in range(rng.integers(1, 5)):
            first = int(rng.integers(0, len(body) + 1))
            last = first + int(rng.choice([0, 1, 1, 1, 4, 1000]))
            body[first:last] = rng.bytes(rng.choice([0, 1, 1, 1, 4, 1000]))
        if body == packed[suffix]:
            continue
        try:
            found = READERS[suffix](PACKED_HEADERS[suffix] + body)
        except DataError:
            continue
        n_read += 1
        np.testing.assert_array_equal(found.voxels, voxels)
    sys.stdout.write(f"{N_FILES} packed bodies, {n_read} of them read, all with the undamaged voxels\n")
