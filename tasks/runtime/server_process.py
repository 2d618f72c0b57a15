"""Process of Prefect's temporary server, which ends with the command that started it, even a killed one.

`python -m tasks.runtime.server_process UVICORN-OPTIONS... PID`, with the id of that command's process.
"""

import os
import signal
import sys
import threading
import time

import uvicorn

LOOK_EVERY_S = 1.0


def main(options: list[str], command_pid: int) -> None:
    """Run the server until it is stopped, or its command is gone."""
    threading.Thread(target=_end_with, args=(command_pid,), daemon=True).start()
    uvicorn.main(options)


def _end_with(command_pid: int) -> None:
    while os.getppid() == command_pid:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    *uvicorn_options, pid = sys.argv[1:]
    main(uvicorn_options, int(pid))
