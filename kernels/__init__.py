"""Hand-written CUDA C++ as text, read from wherever the package is installed."""

from importlib.resources import files

SUFFIXES = (".cu", ".cuh")


def names() -> list[str]:
    """The kernel files there are, sorted."""
    return sorted(file.name for file in files(__name__).iterdir() if file.name.endswith(SUFFIXES))


def source(name: str) -> str:
    """The text of kernel file `name`, for example `"attention.cu"`."""
    known = names()
    if name not in known:
        raise FileNotFoundError(f"no kernel file {name!r}; there is {', '.join(known) or 'none'}")
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
