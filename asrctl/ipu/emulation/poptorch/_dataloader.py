"""Emulated poptorch.DataLoader: combined batches from torch's own loader."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional

import torch

from ._errors import NotEmulated
from ._trees import map_tensors, tensors, zip_tensors
from .enums import DataLoaderMode
from .options import Options


class DataLoader(torch.utils.data.DataLoader):
    """Gives combined batches: `batch_size` times device iterations, replicas and accumulation.

    Async only moves loading to another process on a device's host, and is the same as Sync here. AsyncRebatched lets
    workers collate `rebatched_worker_size` items at a time, and joins and cuts those into combined batches.
    """

    def __init__(
        self,
        options: Options,
        dataset: torch.utils.data.Dataset,
        batch_size: int = 1,
        shuffle: Optional[bool] = None,
        num_workers: int = 0,
        drop_last: bool = True,
        persistent_workers: Optional[bool] = None,
        auto_distributed_partitioning: bool = True,
        mode: DataLoaderMode = DataLoaderMode.Sync,
        async_options: Optional[Dict[str, Any]] = None,
        rebatched_worker_size: Optional[int] = None,
        batch_sampler: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(options, Options):
            raise AssertionError("options must be poptorch.Options")  # poptorch's own class of error
        for name, value in (("async_options", async_options), ("batch_sampler", batch_sampler)):
            if value is not None:
                raise NotEmulated(f"poptorch.DataLoader({name}=...)")
        options._freeze()
        self._options = options
        self._combined_batch_size = (
            batch_size * options.device_iterations * options.replication_factor * options.Training.gradient_accumulation
        )
        self._rebatched = mode == DataLoaderMode.AsyncRebatched
        self._drops_rest = drop_last
        if mode == DataLoaderMode.Async and not drop_last and self._combined_batch_size > 1:
            raise AssertionError("drop_last=False needs DataLoaderMode.Sync or AsyncRebatched")
        loaded = self._combined_batch_size
        if self._rebatched:
            loaded = loaded if rebatched_worker_size is None else rebatched_worker_size
            if loaded > self._combined_batch_size:
                raise AssertionError(
                    f"The rebatched_worker_size ({loaded}) must be <= to the combined batch size "
                    f"({self._combined_batch_size})"
                )
        kwargs["pin_memory"] = False  # there is no device whose copies would gain by it
        super().__init__(
            dataset,
            batch_size=loaded,
            shuffle=bool(shuffle),
            num_workers=num_workers,
            drop_last=drop_last and not self._rebatched,
            persistent_workers=num_workers > 0 if persistent_workers is None else persistent_workers,
            **kwargs,
        )

    @property
    def combinedBatchSize(self) -> int:
        return self._combined_batch_size

    @property
    def options(self) -> Options:
        return self._options

    def terminate(self) -> None:
        """Ends the asynchronous loader, of which there is none."""

    def __len__(self) -> int:
        if not self._rebatched:
            return super().__len__()
        items, size = len(self.dataset), self._combined_batch_size
        return items // size if self._drops_rest else -(-items // size)

    def __iter__(self) -> Iterator[Any]:
        loaded = super().__iter__()
        return self._rebatch(loaded) if self._rebatched else loaded

    def _rebatch(self, chunks: Iterator[Any]) -> Iterator[Any]:
        size = self._combined_batch_size
        waiting: List[Any] = []
        for chunk in chunks:
            waiting = [zip_tensors([*waiting, chunk], torch.cat)]
            while len(tensors(waiting[0])[0]) >= size:
                yield map_tensors(waiting[0], lambda tensor: tensor[:size])
                waiting = [map_tensors(waiting[0], lambda tensor: tensor[size:])]
        if waiting and len(tensors(waiting[0])[0]) and not self._drops_rest:
            yield waiting[0]
