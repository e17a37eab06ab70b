"""``python -m etchproof`` is the ``etchproof`` command."""

from __future__ import annotations

from etchproof.cli import main

if __name__ == "__main__":
    main()
