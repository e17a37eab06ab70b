"""``python -m etchproof`` is the ``etchproof`` command."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, in which a file of data may bear a library's name
    from etchproof.cli import main

    main()
