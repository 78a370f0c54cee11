"""Training by several processes, as torchrun starts them.

Each process computes its share of every batch; the gradients are averaged, so that all
take the same step.  Only the main process writes, prints and evaluates.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training.checkpoint import InterruptedTrainingError

T = TypeVar("T")
_TIMEOUT = timedelta(days=2)
"""The main process may evaluate for hours while the others wait."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Distributed:
    """The processes of a training, and the place of this one among them."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine."""
    stop: threading.Event | None = None
    """Ends a wait for the others."""

    @property
    def is_main(self) -> bool:
        """True in the process that writes, prints and evaluates."""
        return self.rank == 0

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items of a batch that this process computes."""
        return items[self.rank :: self.count]

    def barrier(self, stops: bool = True) -> None:
        """Wait until all processes are here.

        Args:
            stops: False where all must come: the others answer `stop` later.

        Raises:
            InterruptedTrainingError: `stop` was set meanwhile.
        """
        if self.count == 1:
            return
        work = dist.barrier(async_op=True)
        assert work is not None
        while not work.is_completed():
            if stops and self.stop is not None and self.stop.is_set():
                raise InterruptedTrainingError("training was stopped")
            time.sleep(_POLL_SECONDS)

    def broadcast(self, value: T, stops: bool = True) -> T:
        """Return the main process's value in all processes; `stops` as in `barrier`."""
        if self.count == 1:
            return value
        self.barrier(stops)
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up numbers of all processes."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        summed: list[float] = total.tolist()
        return summed

    def any(self, value: bool) -> bool:
        """True if `value` is true in one of the processes."""
        return self.sum([float(value)])[0] > 0

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Let the first process of each machine go before the others.

        The others find what it has left on the disk.
        """
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()

    def wrap(self, module: nn.Module, has_unused: bool) -> nn.Module:
        """Return a module to call in place of `module`, with averaged gradients.

        All processes begin with the weights of the main one.  Batch normalisation
        spans the batch of all processes on GPUs; torch has none that does on CPUs,
        where each process normalises by its own share.
        """
        if self.count == 1:
            return module
        own = {name: value.cpu() for name, value in module.state_dict().items()}
        module.load_state_dict(self.broadcast(own))
        if next(module.parameters()).is_cuda:
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return DistributedDataParallel(module, find_unused_parameters=has_unused)


SINGLE_PROCESS = Distributed()


@contextmanager
def process_group(
    device: str, stop: threading.Event
) -> Iterator[tuple[Distributed, str]]:
    """Join the other processes that torchrun has started, if it has.

    Yields:
        The processes, and the compute device of this one.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Distributed(stop=stop), device
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    backend = "gloo"
    if device == "cuda":
        backend, device = "cpu:gloo,cuda:nccl", f"cuda:{local_rank}"
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield Distributed(dist.get_rank(), count, local_rank, stop), device
    finally:
        dist.destroy_process_group()
