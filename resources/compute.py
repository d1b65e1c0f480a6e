"""Where work runs: worker processes for CPU-heavy steps, devices for trainings. None of it bears identity."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from llm_assets.compute import LocalEngine
from llm_assets.compute.devices import TrainingDevices
from llm_assets.settings import load_settings

from .live_runs import announce_run, report_pool_waits


class Compute(dg.ConfigurableResource):
    """What a run may use of this machine.

    engine: ``local``, worker processes of this machine. workers: how many; 0 is LLM_ASSETS_WORKERS, or one a core.
    gpus: numbers of the GPUs that a training may use, such as ``0,1``; ``none`` is the CPU, empty all of them.
    processes: of a training, one a GPU; 0 is as the recipe says. precision: auto, bf16 or fp32; auto is bf16 on a GPU.
    What is left at its default is as LLM_ASSETS_GPUS, LLM_ASSETS_PROCESSES and LLM_ASSETS_PRECISION say.
    """

    engine: str = "local"
    workers: int = 0
    gpus: str = ""
    processes: int = 0
    precision: str = "auto"

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Compute"]:
        """In a run: for as long as its process lives others see that it does, and it says what it waits for."""
        run, instance = context.run, context.instance
        if run is None or instance is None or instance.is_ephemeral:
            yield self
            return
        with announce_run(run.run_id), report_pool_waits(instance, run.run_id, context.log or dg.get_dagster_logger()):
            yield self

    def open_engine(self) -> LocalEngine:
        """The engine. Raises ValueError for one that there is not."""
        if self.engine != "local":
            raise ValueError(f"compute.engine {self.engine!r}: there is 'local'")
        return LocalEngine(self.workers or load_settings().workers)

    def apply_devices(self) -> None:
        """Make the devices those of this process's trainings. Raises ValueError."""
        usual = TrainingDevices.from_environment()
        TrainingDevices(
            self.gpus or usual.gpus,
            self.processes or usual.processes,
            usual.precision if self.precision == "auto" else self.precision,  # type: ignore[arg-type]
        ).to_environment()
