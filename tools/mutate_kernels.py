"""Alter the CUDA kernels line by line and see whether the tests notice (docs/mutation.md).

    python tools/mutate_kernels.py --op rvq_decode                     # every mutant of a file
    python tools/mutate_kernels.py --op conv_tile --sample 40 --seed 1   # of a header: its kernels'
    python tools/mutate_kernels.py --report                            # what is known so far

Each mutant is compiled for the CPU in a scratch copy and put under the tests of the ops that
include it, the small cases, in each schedule of mutation/emulator.py until one fails. Results are
appended to build/mutants/results.jsonl; what is there is not run again, unless the tests of a
survivor changed. `--module simt_race --survivors` tries the survivors in the race build, and
`--module simt_asan`, with libasan preloaded (csrc/simt/README.md), under the sanitizers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from dataclasses import asdict

from mutation import equivalent
from mutation.emulator import OPS, OUTPUT, ROOT, SCHEDULES, Emulator, closure
from mutation.operators import OPERATORS, Mutant, mutants_of
from mutation.results import Result, append, load, report, tally

import vivace.ops  # noqa: F401  before the fork, so that a mutant's tests start at once

RESULTS = OUTPUT / "results.jsonl"
MARGIN_S = 20.0  # a mutant's tests may take this, and three times what the kernels' take


def all_mutants(stems: list[str], operators: list[str]) -> list[Mutant]:
    """The mutants of the chosen files (all if none is named), equivalent ones included."""
    csrc = ROOT / "csrc"
    files = [*sorted(csrc.glob("cuda/*.cu")), *sorted(csrc.glob("core/*.cuh"))]
    found = []
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if name not in equivalent.LEFT_OUT and (not stems or path.stem in stems):
            found += mutants_of(name, path.read_text())
    return [m for m in found if not operators or m.operator in operators]


def tests_digest(file: str) -> str:
    """Changes when the tests of an op that includes the file do."""
    csrc = ROOT / "csrc"
    digest = hashlib.sha256()
    for op in OPS:
        if ROOT / file in closure(csrc / "cuda" / f"{op}.cu", csrc):
            digest.update((ROOT / "tests" / "ops" / f"test_{op}.py").read_bytes())
    return digest.hexdigest()[:12]


class Bench:
    """Runs mutants one after the other, with the unaltered kernels' times as the measure."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.limits: dict[tuple[str, str], float] = {}
        self.objects: dict[str, bytes] = {}

    def prepare(self, op: str) -> None:
        """The kernels as they are must pass, in every schedule."""
        if op in self.objects:
            return
        self.objects[op] = self.emulator.baseline(op)
        if not self.emulator.link():
            raise RuntimeError("mutate_kernels: the unaltered kernels do not link")
        for schedule in SCHEDULES[self.emulator.module]:
            outcome = self.emulator.test(op, schedule, 1800)
            if outcome.how:
                raise RuntimeError(
                    f"mutate_kernels: the unaltered {op} fails ({schedule}): {outcome.how}"
                )
            self.limits[op, schedule] = 3 * outcome.seconds + MARGIN_S
            print(f"{op}: {outcome.seconds:.1f} s unaltered, {schedule}", file=sys.stderr)

    def fate(self, mutant: Mutant) -> tuple[str, str]:
        """(outcome, what killed it)."""
        fates = []
        for op in self.emulator.users(mutant.file):
            self.prepare(op)
            with self.emulator.altered(mutant.file, mutant.line, mutant.before, mutant.after):
                made = self.emulator.compile(op)
                if made is None or not self.emulator.link():
                    return "invalid", ""
                if made == self.objects[op]:
                    fates.append("identical")
                    continue
                fates.append("survived")
                for schedule in SCHEDULES[self.emulator.module]:
                    outcome = self.emulator.test(op, schedule, self.limits[op, schedule])
                    if outcome.how:
                        return "killed", f"{schedule}: {op}: {outcome.how}"
        return ("survived" if "survived" in fates else "identical"), ""


def chosen_mutants(options: argparse.Namespace, known: dict[str, Result]) -> list[Mutant]:
    """Those that the options name and whose fate is not known."""
    mutants = all_mutants(options.op, options.operator)
    mutants = [m for m in mutants if equivalent.reason(m) is None]
    if options.survivors:
        mutants = [m for m in mutants if m.id in known and known[m.id].outcome == "survived"]
    if options.sample is not None and options.sample < len(mutants):
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    if options.survivors:
        return mutants

    def settled(mutant: Mutant) -> bool:
        result = known.get(mutant.id)
        if result is None:
            return False
        return result.outcome != "survived" or result.tests == tests_digest(mutant.file)

    return [m for m in mutants if not settled(m)]


def run(mutants: list[Mutant], module: str, minutes: float | None) -> None:
    """Runs the mutants, a line of progress each."""
    emulator = Emulator(module)
    bench = Bench(emulator)
    began = time.monotonic()
    try:
        for number, mutant in enumerate(mutants, 1):
            if minutes is not None and time.monotonic() - began > 60 * minutes:
                print(f"stopped after {minutes:g} minutes", file=sys.stderr)
                return
            start = time.monotonic()
            outcome, by = bench.fate(mutant)
            seconds = round(time.monotonic() - start, 1)
            line = (mutant.line, mutant.operator, mutant.before, mutant.after)
            digest = tests_digest(mutant.file)
            result = Result(mutant.id, mutant.file, *line, outcome, by, seconds, module, digest)
            append(RESULTS, result)
            where = f"{mutant.file}:{mutant.line}"
            print(f"{number}/{len(mutants)} {outcome} {where} {seconds} s {by}", file=sys.stderr)
            if outcome == "survived":
                print(mutant.diff(), file=sys.stderr, flush=True)
    finally:
        emulator.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--op", action="append", default=[], help="stem of a file of csrc/cuda or csrc/core"
    )
    parser.add_argument("--operator", action="append", default=[], choices=OPERATORS)
    parser.add_argument("--sample", type=int, help="so many of them, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="start no mutant after that")
    parser.add_argument("--module", choices=tuple(SCHEDULES), default="simt")
    parser.add_argument("--survivors", action="store_true", help="known survivors again")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--report", action="store_true", help="print what is known, run nothing")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    everything = all_mutants(options.op, options.operator)
    if not everything:
        parser.error(f"no mutants of {options.op} {options.operator}")
    known = load([RESULTS]) if RESULTS.is_file() else {}
    if options.list:
        for mutant in everything:
            why = equivalent.reason(mutant)
            print(f"{mutant.id} {mutant.diff()}" + (f"\n  equivalent: {why}" if why else ""))
        return
    if not options.report:
        run(chosen_mutants(options, known), options.module, options.minutes)
        known = load([RESULTS]) if RESULTS.is_file() else {}
    wanted = {m.id for m in everything if equivalent.reason(m) is None}
    results = [r for r in known.values() if r.id in wanted]
    if options.json:
        rows = [asdict(r) for r in results]
        print(json.dumps({"tally": tally(results), "results": rows}, indent=1))
    else:
        print(report(results))


if __name__ == "__main__":
    main()
