"""`python -m bench ops|models|table|compare`, from the root of the repository."""

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.case import Options
    from bench.record import Record

_MODES = ("default", "reduce-overhead", "max-autotune")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for kind, what in (("ops", "the cases of tests/ops"), ("models", "whole models and peers")):
        run = commands.add_parser(kind, help=f"time {what}")
        run.add_argument("name", nargs="?", default="", help="leading parts of a case's id")
        run.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        run.add_argument("--dtype", type=_words, default=(), help="comma-separated")
        run.add_argument("--threads", type=_ints, default=(), help="default: 1 and all cores")
        run.add_argument("--rounds", type=_positive, default=5, help="interleaved rounds")
        run.add_argument("--quick", action="store_true", help="does it run? The times mean nothing")
        run.add_argument("--compile", type=_modes, help=f"none, or some of {', '.join(_MODES)}")
        run.add_argument("--json", type=Path, metavar="FILE", help="write the record there")
        run.add_argument("--record", action="store_true", help="write to bench/records, and docs")
        if kind == "models":
            run.add_argument("--seconds", type=_floats, default=(), help="lengths of audio")
            run.add_argument("--batch", type=_ints, default=(), help="batch sizes")
            run.add_argument(
                "--memory-seconds", type=float, default=60.0, help="audio for peak memory; 0: none"
            )
    table = commands.add_parser("table", help="generate docs/benchmarks.md from the records")
    table.add_argument("--plot", action="store_true", help="and docs/benchmarks.png (matplotlib)")
    compare = commands.add_parser("compare", help="two records: what is faster, and is it sure?")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    return parser


def _modes(text: str) -> tuple[str, ...]:
    modes = () if text == "none" else tuple(text.split(","))
    for mode in modes:
        if mode not in _MODES:
            raise argparse.ArgumentTypeError(f"{mode!r} is neither none nor of {_MODES}")
    return modes


def _words(text: str) -> tuple[str, ...]:
    words = tuple(text.split(","))
    known = ("float32", "tf32", "bfloat16", "float16")
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return words


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _ints(text: str) -> tuple[int, ...]:
    return tuple(_positive(word) for word in text.split(","))


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(","))


def _options(args: argparse.Namespace) -> "Options":
    from bench.case import Options

    return Options(
        device=args.device,
        name=args.name,
        dtypes=args.dtype,
        threads=args.threads,
        rounds=args.rounds,
        quick=args.quick,
        compile=args.compile,
        seconds=getattr(args, "seconds", ()),
        batches=getattr(args, "batch", ()),
        memory_s=getattr(args, "memory_seconds", 0.0),
    )


def command_line(argv: Sequence[str]) -> str:
    """What to type for the same run. Where the record went is nobody's business."""
    kept = list(argv)
    for index, word in enumerate(argv):
        if word == "--json":
            kept = [*argv[:index], *argv[index + 2 :]]
        elif word.startswith("--json="):
            kept = [*argv[:index], *argv[index + 1 :]]
    return " ".join(("python -m bench", *kept))


def _run(args: argparse.Namespace, argv: Sequence[str]) -> "Record":
    from bench import machine, models, ops, runner
    from bench.record import Record, gpu_states, save

    options = _options(args)
    cores = len(machine.cores())
    kind = args.command if not args.name else f"{args.command}.{args.name.replace('/', '.')}"
    record = Record(
        kind=kind,
        device=options.device,
        machine=f"{machine.device_name(options.device)}"
        + (f", {cores} cores" if options.device == "cpu" else ""),
        slug=machine.slug(options.device, cores),
        command=command_line(argv),
        quick=options.quick,
    )
    record.gpu += gpu_states(options.device)

    def keep() -> None:
        if args.json is not None:
            save(record, args.json)

    suites = ops.suites() if args.command == "ops" else models.suites()
    seen = runner.run(record, options, suites, keep)
    fail = functools.partial(runner.fail, record)
    for row in models.memory(options, fail) if args.command == "models" else ():
        runner.say(f"{row.id} {row.variant}: peak {row.peak_bytes / 1e6:.0f} MB")
        record.memory.append(row)
    if not seen and not record.memory and not record.skipped:
        raise ValueError(f"no case is named {options.name!r}; suites: {', '.join(suites)}")
    record.gpu += gpu_states(options.device)
    return record


def _write(record: "Record", args: argparse.Namespace) -> None:
    from bench.record import RECORDS, save
    from bench.table import generate

    if args.json is not None:
        save(record, args.json)
    if args.record:
        save(record, RECORDS / record.file_name)
        generate()


def _table(plot: bool) -> None:
    from bench.record import load_all
    from bench.table import PAGE, generate

    if plot:
        from bench.plot import draw

        draw(load_all(), PAGE.with_suffix(".png"))
    generate()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status is 1 where one of our kernels was wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    args: Any = _parser().parse_args(words)
    if args.command in ("ops", "models"):
        # Read when the OpenMP runtime starts, so before torch is imported: threads that wait for
        # work by spinning are what a benchmark of short calls wants.
        os.environ.setdefault("OMP_WAIT_POLICY", "active")
    from bench.table import terminal

    try:
        if args.command == "table":
            _table(args.plot)
        elif args.command == "compare":
            from bench.compare import compare
            from bench.record import load

            print(compare(load(args.before), load(args.after)))
        else:
            if args.record and args.quick:
                raise ValueError("--record and --quick: a quick run is no measurement")
            record = _run(args, words)
            _write(record, args)
            print(terminal(record.to_dict()))
            return 1 if record.failed else 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
