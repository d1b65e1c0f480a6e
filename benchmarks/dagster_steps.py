"""The cost of a Dagster step by executor, and of a check in a step of its own or within its asset's step.

    python benchmarks/dagster_steps.py --assets 20 --json benchmarks/results/dagster-steps.json

Runs Dagster's command line over a chain of assets that do nothing, and over a chain of one asset. The difference in
wall-clock time, divided by the difference in assets, is the cost of a step. All commands run one after another.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = """
import os
import dagster as dg

COUNT, CHECKS, EXECUTOR = int(os.environ["COUNT"]), os.environ["CHECKS"], os.environ["EXECUTOR"]


def make(number):
    name, deps = f"a{number}", [f"a{number - 1}"] if number else []
    specs = [dg.AssetCheckSpec("fine", asset=name)] if CHECKS == "within" else []

    @dg.asset(name=name, deps=deps, check_specs=specs)
    def body():
        results = [dg.AssetCheckResult(passed=True, check_name="fine")] if specs else []
        return dg.MaterializeResult(check_results=results)

    return body


def check(number):
    @dg.asset_check(asset=f"a{number}", name="fine")
    def body():
        return dg.AssetCheckResult(passed=True)

    return body


executors = {
    "in process": dg.in_process_executor,
    "forkserver": dg.multiprocess_executor.configured({"start_method": {"forkserver": {}}, "max_concurrent": 2}),
    "spawn": dg.multiprocess_executor.configured({"start_method": {"spawn": {}}, "max_concurrent": 2}),
}
defs = dg.Definitions(
    assets=[make(number) for number in range(COUNT)],
    asset_checks=[check(number) for number in range(COUNT)] if CHECKS == "separate" else [],
    executor=executors[EXECUTOR],
)
"""


def command_seconds(folder: Path, count: int, executor: str, checks: str) -> float:
    """Wall-clock seconds of one command. checks: `none`, `within` the step of the asset, or `separate` steps."""
    environment = {
        **os.environ,
        "COUNT": str(count),
        "CHECKS": checks,
        "EXECUTOR": executor,
        "DAGSTER_HOME": str(folder),
    }
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "asset",
        "materialize",
        "--select",
        "*",
        "-f",
        "program.py",
    ]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def step_cost(folder: Path, assets: int, executor: str, checks: str) -> float:
    """Seconds that one more asset takes."""
    single, chain = (command_seconds(folder, count, executor, checks) for count in (1, assets))
    return round((chain - single) / (assets - 1), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=20, help="number of assets in the chain, at least 2")
    parser.add_argument("--executors", default="in process,forkserver,spawn")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "program.py").write_text(PROGRAM)
        (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        command_seconds(folder, 1, "in process", "none")  # the first command creates the instance's databases
        steps = {
            executor: step_cost(folder, arguments.assets, executor, "none")
            for executor in arguments.executors.split(",")
        }
        checks = {
            kind: step_cost(folder, arguments.assets, "in process", kind) for kind in ("none", "within", "separate")
        }
    result = {
        "assets": arguments.assets,
        "cores": os.cpu_count(),
        "seconds_per_step": steps,
        "seconds_per_asset_in_process": {
            "no check": checks["none"],
            "check within its asset's step": checks["within"],
            "check in a step of its own": checks["separate"],
        },
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
