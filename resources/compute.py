"""Where work runs: an engine for CPU-heavy steps, devices for training. No setting is part of an identity."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg

from llm_assets.compute import LocalEngine, RayEngine
from llm_assets.compute.devices import TrainingDevices
from llm_assets.compute.engines import open_engine
from llm_assets.settings import load_settings

from .live_runs import announce_run, report_pool_waits


class Compute(dg.ConfigurableResource):
    """What a run may use of this machine, or of a cluster.

    engine: ``local``, for worker processes on this machine, or ``ray``; empty for ray where there is an address.
    address: of the Ray cluster, ``host:port`` or ``auto``; empty for LLM_ASSETS_RAY_ADDRESS.
    workers: processes on this machine; 0 takes LLM_ASSETS_WORKERS, or one per core.
    gpus: numbers of the GPUs for training, such as ``0,1``; ``none`` for the CPU, empty for all GPUs.
    processes: number of training processes, one per GPU; 0 takes the recipe's number.
    precision: auto, bf16 or fp32; auto is bf16 on a GPU that supports it, else fp32.
    Fields left at their defaults take LLM_ASSETS_GPUS, LLM_ASSETS_PROCESSES and LLM_ASSETS_PRECISION.
    """

    engine: str = ""
    address: str = ""
    workers: int = 0
    gpus: str = ""
    processes: int = 0
    precision: str = "auto"

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Compute"]:
        """In a run: show other processes that this one is alive, and report which pools its steps wait for."""
        run, instance = context.run, context.instance
        if run is None or instance is None or instance.is_ephemeral:
            yield self
            return
        with announce_run(run.run_id), report_pool_waits(instance, run.run_id, context.log or dg.get_dagster_logger()):
            yield self

    def open_engine(self) -> LocalEngine | RayEngine:
        """The engine that runs tasks. Raises ValueError for an unknown name."""
        settings = load_settings()
        return open_engine(replace(settings, workers=self.workers or settings.workers), self.engine, self.address)

    def apply_devices(self) -> None:
        """Use these devices for training in this process. Raises ValueError for an invalid field."""
        defaults = TrainingDevices.from_environment()
        TrainingDevices(
            self.gpus or defaults.gpus,
            self.processes or defaults.processes,
            defaults.precision if self.precision == "auto" else self.precision,  # type: ignore[arg-type]
        ).to_environment()
