"""Execution of a job's parts: in this process, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, Literal, get_args

from equissl.util.cluster import ray_workers
from equissl.util.job import Job, Limits, Worker
from equissl.util.messages import Once
from equissl.util.processes import one_thread_environment, usable_cores
from equissl.util.watched import WatchedProcess

Engine = Literal["processes", "ray"]


def run_parts(
    job: Job,
    parts: Sequence[int],
    workers: int | None = None,
    limits: Limits | None = None,
    engine: Engine = "processes",
) -> Iterator[tuple[int, Any]]:
    """Run ``parts`` and yield each with its result as it is finished, in any order.

    On an error no new part is begun and those under way are finished; on an interrupt they are ended. Warnings of the
    processes are logged by this one, each once.

    Args:
        job: what to do.
        parts: numbers.
        workers: new processes of one thread each, which end when this one does; None takes one per core of the machine,
            or of the cluster. 0 works in this process, without limits.
        limits: of the processes' time, memory and lives.
        engine: ``processes`` of this machine, or ``ray``: on the cluster that ``RAY_ADDRESS`` names or that runs here,
            else on one started for this call.

    Raises:
        WorkerError: naming the items over which processes were lost.
        ImportError: ``ray`` is not installed.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"expected engine to be one of {[*get_args(Engine)]}, got {engine!r}")
    if not parts:
        return
    limits = limits or Limits()
    if engine == "ray":
        with ray_workers(job, limits, workers, len(parts)) as actors:
            yield from _drive(actors, parts)
    elif workers == 0:
        yield from ((part, job.run(part, {}, lambda begun: None)) for part in parts)
    else:
        count = min(usable_cores() if workers is None else workers, len(parts))
        with one_thread_environment():
            say = Once()  # of all processes
            yield from _drive([WatchedProcess(job, limits, say) for _ in range(count)], parts)


def _drive(workers: Sequence[Worker], parts: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Give each worker, which waits in a thread of its own, one part after the other."""
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(part: int) -> tuple[int, Any]:
        worker = idle.get()
        try:
            return part, worker.run(part)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(len(workers))
    try:
        pending = {pool.submit(run, part) for part in parts}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        if not isinstance(error, Exception):
            for worker in workers:
                worker.stop()
        raise
    finally:
        pool.shutdown()
        for worker in workers:
            worker.close()
