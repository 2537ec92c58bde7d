"""A terminal that may be gone, as after a lost ssh connection."""

from __future__ import annotations

import os
import stat


def leave_lost_terminal() -> None:
    """Discards further output to a terminal that is gone.

    Otherwise the next line of a progress bar would raise an OSError, and end a run as a failed one.
    """
    for descriptor in (0, 1, 2):
        try:
            is_device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
        except OSError:
            continue  # closed
        if is_device and not os.isatty(descriptor):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, descriptor)
            os.close(null)
