"""From cases to a record: check every variant, time those that are right, compare with floors."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch

from bench import machine
from bench.case import Case, Cases, Options, Variant, precision
from bench.ceilings import Ceilings
from bench.record import ROOT, Record, Row
from bench.stats import separated
from bench.timer import Budget, Timing, measure

_QUICK = Budget(rounds=2, warmup_s=0.02, slice_s=0.02, min_samples=1)


def say(line: str) -> None:
    """Progress, on stderr: stdout is for the table."""
    print(line, file=sys.stderr, flush=True)


def thread_counts(options: Options) -> tuple[int, ...]:
    """The numbers of CPU threads to record: 1 and all cores; on CUDA the host's all."""
    everything = len(machine.cores())
    if options.threads:
        return tuple(min(n, everything) for n in options.threads)
    return (everything,) if options.device == "cuda" else tuple(sorted({1, everything}))


def run(
    record: Record, options: Options, suites: dict[str, Cases], keep: Callable[[], None]
) -> int:
    """Times all cases of the suites that the options select, and adds them to the record; calls
    `keep` after each, so that a run that is stopped leaves what it has. Returns their number.
    """
    cpus = machine.cores()
    seen = 0
    for count in thread_counts(options):
        # The last cores: interrupts are usually served by the first.
        used = cpus[-count:]
        ceilings = None
        for case in _cases(suites, options, _noting(record.skipped)):
            ceilings = ceilings or _prepare(used, options)
            seen += 1
            _forget_compiled(options)
            record.rows += run_case(case, options, ceilings, used, record)
            record.ceilings[str(count)] = asdict(ceilings)
            keep()
    return seen


def _prepare(cpus: list[int], options: Options) -> Ceilings:
    """Settles the process on these CPUs, and measures what they can."""
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True
    machine.pin(cpus)
    if options.compile != ():
        import torch._inductor.config as inductor

        inductor.cpp.threads = len(cpus)  # generated code has the number of threads built in
    say(f"ceilings with {len(cpus)} thread(s) ...")
    return Ceilings.measure(options.device, options.quick)


def _forget_compiled(options: Options) -> None:
    """Drops what was compiled for another case or thread count, and the memory that it held."""
    if options.compile != ():
        torch._dynamo.reset()
    if options.device == "cuda":
        torch.cuda.empty_cache()


def _noting(skipped: list[str]) -> Callable[[str], None]:
    def note(line: str) -> None:
        if line not in skipped:
            skipped.append(line)
            say(f"  skipped: {line}")

    return note


def _cases(
    suites: dict[str, Cases], options: Options, note: Callable[[str], None]
) -> Iterator[Case]:
    for cases in suites.values():
        yield from cases(options, note)


def run_case(
    case: Case, options: Options, ceilings: Ceilings, cpus: list[int], record: Record
) -> list[Row]:
    """The rows of one case. Variants that are wrong or raise have none: the record says which."""
    say(f"{case.id} {case.dtype}, {len(cpus)} thread(s)")
    budget = _QUICK if options.quick else Budget(rounds=options.rounds)
    with torch.no_grad(), precision(case.dtype):
        errors, compile_s = _verified(case, record)
        good = [v for v in case.variants if v.name in errors]
        if not good:
            return []
        meter = machine.NoiseMeter(cpus)
        try:
            timings = measure(case, good, budget, options.device)
        except RuntimeError as error:  # such as running out of memory
            fail(record, f"{case.id} {case.dtype}: {_reason(error)}")
            return []
        noise = None if options.device == "cuda" else meter.read()
    rows = _rows(case, good, timings, ceilings, len(cpus))
    for row in rows:
        row.error = errors[row.variant]
        row.compile_s = compile_s.get(row.variant)
        if noise is not None:
            row.steal, row.other_load = noise.steal, noise.other_load
        say(f"  {row.variant}: {row.samples['median'] * 1e3:.4g} ms, {row.ratio:.2f} x floor")
    return rows


def _verified(case: Case, record: Record) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Errors of the variants that are right, and seconds that the first call took to compile."""
    errors, compile_s = {}, {}
    for variant in case.variants:
        begin = time.perf_counter()
        try:
            with variant.active():
                errors[variant.name] = case.verify(variant)
        except Exception as error:
            line = f"{case.id} {case.dtype} {variant.name}: {_reason(error)}"
            if variant.peer:
                _noting(record.skipped)(line)
            else:
                fail(record, line)
            continue
        if variant.compiles:
            compile_s[variant.name] = round(time.perf_counter() - begin, 2)
    return errors, compile_s


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).replace(str(ROOT), ".")
    return f"{type(error).__name__}: {text[:300]}"


def fail(record: Record, line: str) -> None:
    """Notes what of ours went wrong; the run goes on, and its exit status says so."""
    record.failed.append(line)
    say(f"  FAILED: {line}")


def _rows(
    case: Case,
    variants: list[Variant],
    timings: dict[str, Timing],
    ceilings: Ceilings,
    threads: int,
) -> list[Row]:
    floor = ceilings.floor(case.bytes, case.flops, case.dtype)
    summaries = {name: asdict(t.samples) for name, t in timings.items()}
    peers = [v.name for v in variants if v.peer]
    peer = min(peers, key=lambda name: summaries[name]["median"]) if peers else None
    rows = []
    for v in variants:
        samples, timing = summaries[v.name], timings[v.name]
        rows.append(
            Row(
                id=case.id,
                variant=v.name,
                dtype=case.dtype,
                threads=threads,
                shape=case.shape,
                samples=samples,
                mode=timing.mode,
                bytes=case.bytes,
                flops=case.flops,
                floor=floor,
                ratio=samples["median"] / floor,
                peer=peer,
                speedup=summaries[peer]["median"] / samples["median"] if peer else None,
                clear=separated(summaries[peer], samples) if peer else None,
                error={},
                called=asdict(timing.called) if timing.called else None,
                cold=timing.cold,
                in_cache=ceilings.cache_of(case.bytes),
                audio_s=case.audio_s,
            )
        )
    return rows
