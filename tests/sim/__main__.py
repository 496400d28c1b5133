"""Live through one seed again, and say what came of it: `python -m tests.sim SEED [SEED …]`."""

from __future__ import annotations

import sys
from pprint import pprint

from tests.sim.client import play
from tests.sim.draw import drawn
from tests.sim.laws import broken
from tests.sim.report import report


def main(seeds: list[int]) -> int:
    faults = 0
    for seed in seeds:
        scenario = drawn(seed)
        played = play(scenario)
        told = report(played)
        laws = broken(played, told)
        pprint(scenario)  # noqa: T203
        print(told)
        print("\n".join(f"BROKEN: {law}" for law in laws) or "all laws hold")
        faults += len(laws)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main([int(seed) for seed in sys.argv[1:]]))
