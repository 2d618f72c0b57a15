"""Ray Data's own lines on the terminal, which say nothing that a user can act on."""

import logging
from typing import Final

import ray.data

_SILENT: Final = ("ray.data._internal.progress", "ray.data._internal.progress.progress_bar", "ray.data.exceptions")
"""Loggers of hints about progress bars, and of the advice that stands before an error's own traceback."""


def quieten_ray_data() -> None:
    """Keep Ray Data's progress and plans off the terminal; its warnings stay.

    Called after `ray.data` was imported, which sets the levels of all its loggers (ray 2.60:
    `ray/data/_internal/logging.py:212`).
    """
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
