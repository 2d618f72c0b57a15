"""Ray's token on this machine: for its user alone."""

from pathlib import Path

import pytest

from tasks.core.errors import ClusterError
from tasks.engine.cluster.token import make_token_private


def test_a_new_token_is_private_and_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is made once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    token = tmp_path / ".ray" / "auth_token"
    make_token_private()
    made = token.read_text()
    assert len(made) == 64
    make_token_private()
    assert (token.read_text(), token.stat().st_mode & 0o777) == (made, 0o600)


def test_a_home_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do; a token from the environment needs no file."""
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    with pytest.raises(ClusterError, match="Set HOME to a folder that can be written"):
        make_token_private()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token")
    make_token_private()


def test_a_token_that_everybody_can_read_becomes_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As Ray makes it itself; what it says is kept, because clusters may run with it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("known to a cluster")
    token.chmod(0o644)
    make_token_private()
    assert (token.read_text(), token.stat().st_mode & 0o777) == ("known to a cluster", 0o600)
