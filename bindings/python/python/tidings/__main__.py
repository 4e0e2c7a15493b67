"""``tidings`` and ``python -m tidings``: the command, which is the same as that of ``cargo install``."""

import signal
import sys

from . import _tidings


def main() -> int:
    """Runs the command, and returns what the process is to end with."""
    # The command answers Ctrl-C itself, with 130; Python would make a traceback of it as well.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _tidings.command(["tidings", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
