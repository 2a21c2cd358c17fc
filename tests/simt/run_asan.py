"""Runs cases of the ASan library, in a process that has libasan preloaded.

python -m tests.simt.run_asan LIBRARY clean          all right kernels, two schedules
python -m tests.simt.run_asan LIBRARY CASE NUMBER    one planted bug; the sanitizer ends the process
"""

import sys
from pathlib import Path

import numpy as np

from tests.simt.build import SCHEDULES, Library
from tests.simt.clean_cases import CASES


def main() -> None:
    library = Library(Path(sys.argv[1]))
    if sys.argv[2] == "clean":
        for schedule in (SCHEDULES[0], SCHEDULES[-1]):
            for check in CASES.values():
                check(library, schedule, np.random.default_rng(1))
        print("clean")
        return
    x, y = np.zeros(32, np.float32), np.empty(64, np.float32)
    error = library.run(sys.argv[2], y, x, numbers=(int(sys.argv[3]),), at=SCHEDULES[0])
    print(f"not caught: {error}")


if __name__ == "__main__":
    main()
