"""Workers on a Ray cluster: actors on any machine, each watching a process of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from equissl.util.job import ATTEMPTS, Job, Limits, WorkerError
from equissl.util.messages import Once, Said
from equissl.util.processes import one_thread_environment
from equissl.util.watched import WatchedProcess

_INSTALL = "expected Ray for engine=ray: pip install 'equissl[ray]'"


class RayActor:
    """Actor that runs parts in a process below it, limited and replaced as on one machine."""

    def __init__(self) -> None:
        self.process: WatchedProcess | None = None
        self.said: list[Said] = []

    def run(self, shared: list[Any], limits: Limits, part: int) -> tuple[Any, list[Said]]:
        """Return the result of one part, and the warnings on the way.

        Args:
            shared: the job, as a reference.
            limits: of the process.
            part: its number.
        """
        if self.process is None:
            import ray

            self.process = WatchedProcess(ray.get(shared[0]), limits, lambda said: self.said.append(said))
        self.said = []
        with one_thread_environment():
            return self.process.run(part), self.said


class RayWorker:
    """Handle of one actor. Ray starts it again, elsewhere if need be, when it or its machine is lost."""

    def __init__(self, ray: Any, actor: Any, job: Job, shared: list[Any], limits: Limits, say: Once) -> None:
        self.ray, self.actor, self.job, self.shared, self.limits, self.say = ray, actor, job, shared, limits, say

    def run(self, part: int) -> Any:
        try:
            result, said = self.ray.get(self.actor.run.remote(self.shared, self.limits, part))
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:
            items = self.job.items(part)
            first, last = (self.job.describe(part, item) for item in (items[0], items[-1]))
            raise WorkerError(f"Ray lost the workers over {first} to {last}, {ATTEMPTS} times: {error}") from error
        for message in said:
            self.say(message)
        return result

    def stop(self) -> None:
        self.ray.kill(self.actor)

    def close(self) -> None:
        self.ray.kill(self.actor)


@contextmanager
def ray_workers(job: Job, limits: Limits, count: int | None, most: int) -> Iterator[list[RayWorker]]:
    """Start actors on the running cluster, or on one of this machine for as long as the context lasts.

    Args:
        job: what they do; its files must be at the same place on every machine.
        limits: of each one's process.
        count: how many, one core each; None takes all cores of the cluster.
        most: more are not needed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    try:
        count = int(ray.cluster_resources().get("CPU", 1)) if count is None else count
        if count < 1:
            raise ValueError(f"expected at least 1 worker with engine=ray, got {count}")
        remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=ATTEMPTS - 1)(RayActor)
        shared = [ray.put(job)]  # sent to each machine once; in a list, so that not each call unpacks it
        say = Once()  # of all workers
        yield [RayWorker(ray, remote.remote(), job, shared, limits, say) for _ in range(min(count, most))]
    finally:
        if started:
            ray.shutdown()
