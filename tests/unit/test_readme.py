"""What README shows is what happens."""

import re
from pathlib import Path

import gpugrad.op

README = Path(__file__).parents[2] / "README.md"


def test_the_tour_runs_as_printed(capsys):
    text = README.read_text()
    code = re.search(r"<!-- tour:.*?-->\n```python\n(.*?)```", text, re.DOTALL)[1]
    try:
        exec(compile(code, "README.md", "exec"), {})
    finally:
        _forget("swish2")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "gpugrad.Size([3, 2])"
    assert [line.split()[0] for line in out[1:4]] == [
        "MeanBackward0", "PowBackward0", "ReluBackward0",
    ]  # fmt: skip


def _forget(name):
    """Take the tour's op out of the registry, so that other tests do not meet it."""
    record = gpugrad.op.registry.ops.pop(name, None)
    if record is not None:
        gpugrad.op.registry.by_xp.pop(record.xp_name, None)


def test_documents_that_readme_links_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
