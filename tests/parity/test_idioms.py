"""Typical pieces of training code print the same under gpugrad as under PyTorch."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import gpugrad  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # both have their own words
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # PyTorch's
]
CODE = Path(__file__).with_name("idioms.py")


def loaded(library: Any) -> dict[str, Any]:
    """The functions of ``idioms.py`` over PyTorch or gpugrad."""
    scope = {"torch": library, "nn": library.nn, "F": library.nn.functional, "__name__": "idioms"}
    exec(compile(CODE.read_text("utf-8"), str(CODE), "exec"), scope)
    return scope


OURS, THEIRS = loaded(gpugrad), loaded(torch)
NAMES = [n for n, v in OURS.items() if getattr(v, "__module__", "") == "idioms" and n[0] != "_"]


def printed(program: Any) -> str:
    """What a function prints, under PyTorch's name."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        program()
    return out.getvalue().replace("gpugrad.", "torch.")


@pytest.mark.parametrize("name", NAMES)
def test_an_idiom_prints_what_it_prints_under_pytorch(name: str) -> None:
    """Values, shapes, dtypes, reprs and kinds of errors: the text is the same."""
    text = printed(OURS[name])
    assert text
    assert text == printed(THEIRS[name])


def test_a_difference_would_be_seen() -> None:
    """Texts of different idioms differ, so the comparison compares."""
    assert len({printed(OURS[name]) for name in NAMES}) == len(NAMES) > 10
