"""Every record keeps the promises of all ops; no op is named here."""

import pytest

import gpugrad as gg
from gpugrad import publish
from gpugrad.op import registry
from gpugrad.testing import check_op
from gpugrad.testing.calls import key

RECORDS = {key(r): r for r in registry}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", RECORDS)
def test_op(name: str, device: str) -> None:
    """Result rule, inputs, memory, layouts, dtypes, derivatives, saved arrays, in place."""
    check_op(RECORDS[name], device=device)


@pytest.mark.parametrize("name", RECORDS)
def test_it_is_public(name: str) -> None:
    """A record is found under its name and its aliases, as function and as method."""
    record = RECORDS[name]
    for alias in (record.name, *record.aliases):
        home, _, name = alias.rpartition(".")
        home = home or record.home
        assert publish.homes[home][name] is record.public
        if record.method and home == record.home:
            assert hasattr(gg.Tensor, name)
        if record.inplace and home == record.home:
            assert callable(publish.homes[home][f"{name}_"])
            assert not record.method or callable(getattr(gg.Tensor, f"{name}_"))
