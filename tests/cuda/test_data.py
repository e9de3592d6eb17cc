"""Loading for a device: pinned batches, and workers beside a process that uses CUDA."""

import pytest

import gpugrad as gg
from gpugrad.utils.data import DataLoader, TensorDataset


def test_pinned_batches_reach_the_device() -> None:
    """Every tensor of a batch is page-locked, and arrives as it is."""
    rows = gg.arange(600).reshape(6, 100)
    for i, (batch,) in enumerate(DataLoader(TensorDataset(rows), 2, pin_memory=True)):
        assert batch.is_pinned()
        assert gg.equal(batch.to("cuda", non_blocking=True).cpu(), rows[2 * i : 2 * i + 2])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_process_that_uses_the_device(method: str) -> None:
    """They read CPU tensors; whether they inherit a CUDA context or not, they end well."""
    total = gg.ones(4, device="cuda")
    rows = gg.arange(8.0).reshape(2, 4)
    loader = DataLoader(TensorDataset(rows), 1, num_workers=1, pin_memory=True, timeout=60,
                        multiprocessing_context=method)  # fmt: skip
    for (batch,) in loader:
        total += batch[0].to("cuda", non_blocking=True)
    assert total.tolist() == [5, 7, 9, 11]
