"""Several processes that train one network together, as torchrun starts them.

Each process, called a rank, makes and hears its share of every batch; the gradients are
averaged, so that all take the same step.  Only the first writes, prints and tests.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.checkpoint import InterruptedTrainingError

T = TypeVar("T")
_PATIENCE = timedelta(days=2)
"""The first rank may test for hours while the others wait."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of a training, and which of them this is."""

    number: int = 0
    """Of this process, from 0."""
    count: int = 1
    local: int = 0
    """Number of this process among those of its machine."""
    local_count: int = 1
    stop: threading.Event | None = None
    """Ends a wait for the others."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes, prints and tests."""
        return self.number == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items of a batch that are this process's."""
        return items[self.number :: self.count]

    def wait(self) -> None:
        """Wait until all processes are here.

        Raises:
            InterruptedTrainingError: `stop` was set, and the others do not come.
        """
        if self.count == 1:
            return
        work = dist.barrier(async_op=True)
        assert work is not None
        while not work.is_completed():
            if self.stop is not None and self.stop.is_set():
                raise InterruptedTrainingError("training was stopped")
            time.sleep(_POLL_SECONDS)

    def tell(self, value: T) -> T:
        """What the first process gives, in all of them."""
        if self.count == 1:
            return value
        self.wait()
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
        """Whether it is true in one of the processes."""
        return self.sum([float(value)])[0] > 0

    @contextmanager
    def one_after_other(self) -> Iterator[None]:
        """Let the first process of each machine go before the others.

        For what it leaves on disk for them.
        """
        if self.local:
            self.wait()
        yield
        if not self.local:
            self.wait()

    def join(self, module: nn.Module, skips: bool) -> nn.Module:
        """A module to be called in place of `module`, whose gradients are averaged.

        All processes begin with the weights of the first.

        Args:
            module: Gets batch normalisations over the batch of all processes.
            skips: Some of its parameters may have no part in an answer.
        """
        if self.count == 1:
            return module
        own = {name: value.cpu() for name, value in module.state_dict().items()}
        module.load_state_dict(self.tell(own))
        group = dist.new_group()
        assert isinstance(group, dist.ProcessGroup)
        _share_norms(module, group)
        return DistributedDataParallel(module, find_unused_parameters=skips)


ALONE = Ranks()


@contextmanager
def joined(device: str, stop: threading.Event) -> Iterator[tuple[Ranks, str]]:
    """Meet the other processes that torchrun has started, if it has.

    Args:
        device: Name of the processor; each process of a machine gets a GPU of its own.
        stop: Ends a wait for the others.

    Returns:
        The ranks, and the processor of this one.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(stop=stop), device
        return
    local = int(os.environ["LOCAL_RANK"])
    backend = "gloo"
    if device == "cuda":
        backend, device = "cpu:gloo,cuda:nccl", f"cuda:{local}"
        torch.cuda.set_device(local)
    dist.init_process_group(backend, timeout=_PATIENCE)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    try:
        yield Ranks(dist.get_rank(), count, local, here, stop), device
    finally:
        dist.destroy_process_group()


class _Sum(torch.autograd.Function):
    """The sum over all processes, through which gradients flow back to each."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


class _SharedNorm(nn.BatchNorm2d):
    """Batch normalisation over the batch of all processes.

    So that two processes learn what one would; torch's own knows GPUs only.
    """

    group: dist.ProcessGroup

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return super().forward(maps)
        own = torch.tensor(float(maps.numel() // maps.shape[1]), device=maps.device)
        sums = _Sum.apply(
            torch.cat([maps.float().sum(dim=(0, 2, 3)), own[None]]), self.group
        )
        count = sums[-1].detach()
        mean = sums[:-1] / count  # (features,)
        apart = maps.float() - mean[:, None, None]
        variance = _Sum.apply(apart.square().sum(dim=(0, 2, 3)), self.group) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        scaled: Tensor = apart * scale[:, None, None] + self.bias[:, None, None]
        return scaled.to(maps.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def _share_norms(module: nn.Module, group: dist.ProcessGroup) -> None:
    """Replace every batch normalisation, at its place, with its numbers."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = _SharedNorm(child.num_features, child.eps, child.momentum or 0.1)
            shared.load_state_dict(child.state_dict())
            shared.group = group
            setattr(module, name, shared.to(child.weight.device))
        else:
            _share_norms(child, group)
