"""What README shows is what happens."""

import re
from pathlib import Path

from gpugrad.testing.scratch import scratch

README = Path(__file__).parents[2] / "README.md"


def test_the_tour_runs_as_printed(capsys):
    text = README.read_text()
    code = re.search(r"<!-- tour:.*?-->\n```python\n(.*?)```", text, re.DOTALL)[1]
    with scratch():  # the tour registers an op
        exec(compile(code, "README.md", "exec"), {})
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "gpugrad.Size([3, 2])"
    assert [line.split()[0] for line in out[1:4]] == [
        "MeanBackward0", "PowBackward0", "ReluBackward0",
    ]  # fmt: skip


def test_documents_that_readme_links_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
