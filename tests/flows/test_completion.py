"""Completion in a shell: the script that the command line installs, asked by bash itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder into which the completion was installed."""
    folder = tmp_path_factory.mktemp("home")
    run = subprocess.run(
        [sys.executable, "-m", "flows", "--install-completion", "--shell", "bash"],
        env=os.environ | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["seg"], {"segment"}),
        (["train", "--training.oper"], {"--training.operating-point", "--training.operating-value"}),
        (["train", "--training.loss", "bce_"], {"bce_dice", "bce_tversky"}),
        (["evaluate", "--split", ""], {"train", "val", "test", "all"}),
        (["segment", "--js"], {"--json"}),
    ],
    ids=str,
)
def test_bash_completes_commands_flags_and_choices(home: Path, words: list[str], offered: set[str]) -> None:
    """After a start of the shell, the words that can follow are offered."""
    typed = " ".join(f"'{word}'" for word in ["lesions", *words])
    script = f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _lesions; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    run = subprocess.run(
        ["bash", "--norc", "-c", f". {home}/.bashrc; {script}"], capture_output=True, text=True, check=True
    )
    assert offered <= {line.strip() for line in run.stdout.splitlines()}
