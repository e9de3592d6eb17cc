"""A loader's cursor as plain data and tensors, and back, checked to be of the same loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpugrad.errors import SettingError
from gpugrad.utils.data._utils import rng
from gpugrad.utils.data._utils.cursor import Cursor, Place, Start, generators_of, has_state

if TYPE_CHECKING:
    from gpugrad.utils.data.dataloader import DataLoader

#: Of the layout of the state; a state of another version is refused.
VERSION = 1


def describe(loader: DataLoader[Any]) -> dict[str, Any]:
    """What must be the same for a cursor to mean the same batches."""
    stream = loader.index_sampler is None
    told: dict[str, Any] = {
        "dataset": "stream" if stream else "indexed",
        "batch_size": "none" if loader.batch_size is None else loader.batch_size,
        "drop_last": int(loader.drop_last),
        "generators": len(generators_of(loader)),
        "state of the dataset": "kept" if has_state(loader.dataset) else "not kept",
    }
    if stream:
        return {**told, "num_workers": loader.num_workers}
    sampler = getattr(loader.index_sampler, "sampler", loader.index_sampler)
    told["sampler"] = type(sampler).__name__
    return {**told, "dataset length": len(loader.dataset)} if _sized(loader.dataset) else told  # type: ignore[arg-type]


def _sized(dataset: Any) -> bool:
    try:
        len(dataset)
    except (TypeError, NotImplementedError):
        return False
    return True


def check_same(loader: DataLoader[Any], data: dict[str, Any]) -> None:
    """Raise if a state was taken from a loader of other batches.

    Raises:
        SettingError: naming every difference, both sides; or that it is no loader's state.
    """
    if data.get("version") != VERSION:
        raise SettingError(
            f"DataLoader.load_state_dict: takes what state_dict() gave, version {VERSION}; "
            f"got version {data.get('version', 'none')}"
        )
    told, mine = data["loader"], describe(loader)
    places = data.get("epoch", {}).get("workers", {}).values()
    if any("now" in place or "dataset" in place for place in places):
        # What workers drew or counted can only come back into as many workers.
        told = {**told, "num_workers": data["num_workers"]}
        mine = {**mine, "num_workers": loader.num_workers}
    wrong = [
        f"{name}: {told.get(name, 'none')} in the state, {mine.get(name, 'none')} here"
        for name in {**mine, **told}
        if mine.get(name) != told.get(name)
    ]
    if wrong:
        raise SettingError(
            "DataLoader.load_state_dict: the state is of another loader: " + "; ".join(wrong)
        )


def numbered(items: list[Any]) -> dict[str, Any]:
    """A list as a dict, which every kind of file can keep."""
    return {str(i): item for i, item in enumerate(items)}


def listed(items: dict[str, Any]) -> list[Any]:
    """What ``numbered`` was given."""
    return [items[str(i)] for i in range(len(items))]


def encode(cursor: Cursor) -> dict[str, Any]:
    """A cursor as nested dicts of ints and tensors."""
    start = cursor.start
    data: dict[str, Any] = {
        "batches": cursor.batches, "drawn": cursor.drawn, "turn": cursor.turn,
        "ended": int(cursor.ended), "finished": int(cursor.finished),
        "base_seed": start.base_seed, "random": rng.encode(start.random),
        "generators": numbered(start.generators),
        "workers": numbered([_encode_place(p) for p in cursor.places]),
    }  # fmt: skip
    if start.sampler is not None:
        data["sampler"] = start.sampler
    return data


def decode(data: dict[str, Any], num_workers: int) -> Cursor:
    """What ``encode`` was given, for a loader of so many workers."""
    start = Start(
        data["base_seed"], rng.decode(data["random"]), listed(data["generators"]),
        data.get("sampler"),
    )  # fmt: skip
    places = [_decode_place(p) for p in listed(data["workers"])]
    if len(places) != num_workers:  # of indexed data, whose workers drew nothing
        places = [Place() for _ in range(num_workers)]
    return Cursor(
        start, data["batches"], data["drawn"], data["turn"], places,
        ended=bool(data["ended"]), finished=bool(data["finished"]), resumed=True,
    )  # fmt: skip


def _encode_place(place: Place) -> dict[str, Any]:
    data: dict[str, Any] = {"batches": place.batches, "ended": int(place.ended)}
    for name, state in (("start", place.start), ("now", place.now)):
        if state is not None:
            data[name] = rng.encode(state)
    if place.dataset is not None:
        data["dataset"] = place.dataset
    return data


def _decode_place(data: dict[str, Any]) -> Place:
    start, now = (rng.decode(data[n]) if n in data else None for n in ("start", "now"))
    return Place(data["batches"], bool(data["ended"]), start, now, data.get("dataset"))
