"""Repeats one case: ``python -m tests.fuzz LOADER NUMBER [FOLDER]`` writes its input into a folder, and loads it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.fuzz.pool import TABLE, Pool
from tests.fuzz.table import loaders, make_case


def main(arguments: list[str]) -> int:
    """0 where the case loads or is refused in good order, 1 where it is a finding."""
    known = loaders(TABLE)
    if len(arguments) not in (2, 3) or arguments[0] not in known or not arguments[1].isdecimal():
        print(__doc__, f"Loaders: {', '.join(known)}.", sep="\n", file=sys.stderr)
        return 2
    name, number = arguments[0], int(arguments[1])
    folder = Path(arguments[2] if len(arguments) > 2 else f"fuzz-{name}-{number}").absolute()
    if folder.exists():
        shutil.rmtree(folder)
    with Pool(workers=1, only=(name,)) as pool:
        make_case(known[name], pool.seeds / name, number, folder)
        (result,) = pool.run([(name, number)])
    print(f"input: {folder}\n{result.how}: {result.said}")
    return int(result.how == "failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
