"""Runs one fuzz target, guided by coverage, with atheris: ``python -m tests.fuzzing --target warc --minutes 30``.

The corpus and the inputs that break a property are kept in a folder outside the project. See
docs/experiments/fuzzing.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

MEGABYTES, SECONDS_PER_INPUT = 2_048, 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="name of a target in tests/fuzzing")
    parser.add_argument("--minutes", type=float, default=30, help="CPU-minutes")
    parser.add_argument("--folder", type=Path, help="corpus and findings; the default is in the temporary folder")
    parser.add_argument("--input", type=Path, help="run the target once, on this file")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.gettempdir(), "llm-assets-fuzzing", options.target)

    from .targets import all_targets

    targets = all_targets()
    if options.target not in targets:
        parser.error(f"no target {options.target!r}; available: {', '.join(targets)}")
    target = targets[options.target]
    if options.input:
        target.run(options.input.read_bytes())
        return
    try:
        import atheris
    except ImportError:
        parser.error("atheris is not installed: pip install atheris")
    corpus, findings = folder / "corpus", folder / "findings"
    for path in (corpus, findings):
        path.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
        target.run(seed)  # what Numba compiles on its first use may take longer than an input may
    instrument(target.modules)
    arguments = [
        sys.argv[0],
        str(corpus),
        f"-artifact_prefix={findings}{os.sep}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MEGABYTES}",
        "-max_len=32768",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, recorder(target.run, findings, 60 * options.minutes))
    atheris.Fuzz()


def recorder(run: Callable[[bytes], None], folder: Path, cpu_seconds: float) -> Callable[[bytes], None]:
    """The target, which writes one input for each place at which a property breaks, and continues.

    After so many CPU-seconds it ends the process. A hang, or more memory than allowed, ends it too: the fuzzer then
    writes the input itself.
    """

    runs = itertools.count(1)

    def run_and_record(data: bytes) -> None:
        number = next(runs)
        if time.process_time() > cpu_seconds:
            print(f"{number:,} runs in {time.process_time() / 60:.1f} CPU-minutes", flush=True)
            os._exit(0)  # an interrupt would end it, too, but is ignored in the background of a shell
        try:
            run(data)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-2:]
            place = "-".join(f"{Path(frame.filename).stem}.{frame.lineno}" for frame in frames)
            path = folder / f"{type(error).__name__}-{place}"
            if not path.exists():
                path.write_bytes(data)
                print(f"broken: {path}: {error}"[:500], flush=True)

    return run_and_record


def instrument(prefixes: tuple[str, ...]) -> None:
    """Add coverage counters to every function of the loaded modules below these names."""
    import atheris

    for name, module in sorted(sys.modules.items()):
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes):
            for item in list(vars(module).values()):
                _instrument(atheris, item, name)


def _instrument(atheris: object, item: object, module: str) -> None:
    members = [item, *vars(item).values()] if isinstance(item, type) and item.__module__ == module else [item]
    for member in members:
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if type(function).__name__ == "function" and function.__module__ == module:
            atheris.instrument_func(function)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
