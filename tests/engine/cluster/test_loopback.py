"""Ray of this machine listens on loopback alone."""

import ipaddress
import time
from pathlib import Path

import psutil
import pytest
import ray

from tasks.engine.cluster.session import FOLDER_PREFIX

pytestmark = pytest.mark.ray

AGENT_WITHIN_S = 20


def _listening(pids: set[int]) -> set[str]:
    """Return the addresses on which processes listen."""
    return {
        address.laddr.ip
        for address in psutil.net_connections("tcp")
        if address.status == psutil.CONN_LISTEN and address.pid in pids
    }


def _processes() -> set[int]:
    """Return the ids of this process and of all of the session."""
    started = [info.process.pid for infos in ray._private.worker._global_node.all_processes.values() for info in infos]
    children = [child.pid for pid in started for child in psutil.Process(pid).children(recursive=True)]
    return {psutil.Process().pid, *started, *children}


def test_no_other_user_enters_the_folder_of_the_session(ray_session: None) -> None:
    """Ray lets everybody write to its own folder; the one around it is this user's alone."""
    folder = Path(ray._private.worker._global_node.get_temp_dir_path())
    assert folder.parent.name.startswith(FOLDER_PREFIX)
    assert folder.parent.stat().st_mode & 0o077 == 0


def test_nothing_listens_beyond_this_machine(ray_session: None) -> None:
    """Control store, node manager, agents, workers and this process: another machine reaches none of them."""
    ray.get(ray.remote(lambda: None).remote())
    end = time.monotonic() + AGENT_WITHIN_S
    while len(found := _listening(_processes())) < 1 and time.monotonic() < end:
        time.sleep(0.5)
    assert found
    assert all(ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback for address in found), found
