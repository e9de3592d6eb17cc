"""``gpugrad run``: an unmodified PyTorch script runs as under Python, with torch being gpugrad."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import gpugrad
from gpugrad.compat import report
from gpugrad.compat.alias import INTERFACE, Version
from gpugrad.compat.names import Missing, resolve

ENV = {
    **{k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "PYTHONSAFEPATH")},
    "PYTHONPATH": str(Path(gpugrad.__file__).parents[1]),
    "OPENBLAS_NUM_THREADS": "1",
}
Script = Callable[..., subprocess.CompletedProcess[str]]


def python(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=ENV, text=True, capture_output=True, timeout=120)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Write a script, run it by ``gpugrad run`` in its folder with arguments."""

    def run(text: str, *args: object, options: tuple[str, ...] = ()) -> object:
        (tmp_path / "train.py").write_text(textwrap.dedent(text))
        return python("-m", "gpugrad", "run", *options, "train.py", *args, cwd=tmp_path)

    return run  # type: ignore[return-value]


# ---- what the program sees -----------------------------------------------------------------------

SURROUNDINGS = """
    import os, sys, pickle
    import helper

    class Mine: pass

    main = sys.modules["__main__"]
    print(sys.argv, os.path.samefile(sys.path[0], "."), sys.path[1:] != [], helper.here)
    print(__name__, os.path.basename(__file__), os.path.isabs(__file__), __package__)
    print(main.Mine is Mine, type(pickle.loads(pickle.dumps(Mine()))) is Mine, __spec__)
    print(__builtins__.__name__, type(__loader__).__name__)
    import atexit, threading
    atexit.register(lambda: print("exit", sys.modules["__main__"] is main))
    threading.Thread(target=lambda: print("thread", sys.modules["__main__"] is main)).start()
"""


def test_surroundings_are_those_of_python_itself(script: Script, tmp_path: Path) -> None:
    """argv, path, ``__main__`` and its attributes, threads, exit handlers: as ``python FILE``."""
    (tmp_path / "helper.py").write_text("here = 'found beside the script'")
    ours = script(SURROUNDINGS, "--help", "-m", "--", "1")
    theirs = python("train.py", "--help", "-m", "--", "1", cwd=tmp_path)
    assert (ours.returncode, ours.stderr) == (0, "")
    assert ours.stdout == theirs.stdout
    assert "thread True" in ours.stdout


def test_a_module_runs_by_name_and_a_folder_by_its_main(tmp_path: Path) -> None:
    """``-m pkg.job --flag`` and a folder with ``__main__.py``; options after a name are its own."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "job.py").write_text(
        "import sys, torch\nprint(__name__, __spec__.name, sys.argv[1:], torch.__name__)"
    )
    (tmp_path / "pkg" / "__main__.py").write_text("import torch; print('main', torch.__name__)")
    done = python("-m", "gpugrad", "run", "-m", "pkg.job", "--json", cwd=tmp_path)
    assert done.stdout == "__main__ pkg.job ['--json'] gpugrad\n", done.stderr
    assert python("-m", "gpugrad", "run", "pkg", cwd=tmp_path).stdout == "main gpugrad\n"


IMPORTS = """
    import sys
    import torch, torch as th
    import torch.nn as nn, torch.nn.functional as F, torch.optim as optim
    import torch.optim.lr_scheduler
    import torch.cuda.amp
    import torch.utils.data as data
    from torch import nn as nn2, Tensor, optim as optim2
    from torch.nn import Module, functional
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.parameter import Parameter
    from torch.nn.utils.rnn import pack_padded_sequence
    from torch.optim.lr_scheduler import StepLR, _LRScheduler
    from torch.utils.data import DataLoader
    from torch.utils.data.dataloader import default_collate
    from torch.autograd import Variable, Function
    from torch.cuda.amp import autocast, GradScaler
    from torch.nn import *
    import gpugrad, gpugrad.nn.functional, importlib, importlib.util, pickle

    assert torch is th is gpugrad and nn is nn2 is gpugrad.nn and optim is optim2
    assert F is functional is gpugrad.nn.functional is sys.modules["torch.nn.functional"]
    assert F.__name__ == F.__spec__.name == "gpugrad.nn.functional"
    assert Module is nn.Module and Linear is nn.Linear and Parameter is nn.Parameter
    assert issubclass(nn.BatchNorm2d, _BatchNorm)
    assert importlib.import_module("torch.nn.init") is nn.init
    assert importlib.util.find_spec("torch.nn").name == "gpugrad.nn"
    assert importlib.util.find_spec("torch.nowhere") is None
    assert importlib.util.find_spec("torch.nn.nowhere") is None
    assert isinstance(torch.ones(1), torch.Tensor) and isinstance(torch.ones(1), Tensor)
    assert torch.tensor([1.0]).dtype is torch.float32
    assert callable(torch.tensor), "the function, not gpugrad's module of that name"
    try:
        import torch.tensor
    except ModuleNotFoundError as error:
        assert "torch.tensor" in str(error)
    else:
        raise AssertionError("torch.tensor is no module")
    assert callable(torch.tensor)
    assert torch.__version__ >= "2.2" and torch.__version__ > (1, 13), torch.__version__
    assert int(torch.__version__.split(".")[0]) == 2
    assert not any("torch" in (getattr(m, "__file__", None) or "").split("/")
                   for m in list(sys.modules.values())), "PyTorch itself was loaded"
"""


def test_every_style_of_import_gives_gpugrads_own_modules(script: Script) -> None:
    """The same objects, whichever way they are asked for; an installed PyTorch stays untouched."""
    done = script(IMPORTS)
    assert (done.returncode, done.stderr) == (0, "")


def test_import_gpugrad_as_torch_has_the_same_styles(tmp_path: Path) -> None:
    """Without ``gpugrad run``: every ``torch`` in an import replaced by ``gpugrad``."""
    text = textwrap.dedent(IMPORTS).partition("assert torch is th")[0]
    text = text.replace("import torch,", "import gpugrad as torch,")
    text = re.sub(r"\b(import|from) torch\b(?! as|,)", r"\1 gpugrad", text)
    text = re.sub(r"\btorch(\.?[\w.]*) as (\w+)", r"gpugrad\1 as \2", text)
    assert "import gpugrad.nn.functional" in text or "gpugrad.nn.functional as F" in text
    done = python("-c", text, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name", ["torch", "torch.nn.Linear", "torch.Tensor.masked_fill", "torch.cuda.amp.autocast"]
)
def test_names_resolve(name: str) -> None:
    """Modules, classes, methods."""
    assert resolve(name) is not None


def test_a_missing_name_says_what_is_closest() -> None:
    """A slip of the pen, and a function that lives elsewhere."""
    with pytest.raises(Missing, match=r"torch\.nn\.Linaer: .*closest: torch\.nn\.Linear"):
        resolve("torch.nn.Linaer")
    with pytest.raises(Missing, match=r"torch\.softplus: .*torch\.nn\.functional\.softplus"):
        resolve("torch.softplus.x")


def test_a_library_that_is_not_there_is_no_missing_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of gpugrad that cannot be imported says why."""

    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setattr("gpugrad.compat.names.import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="numba"):
        resolve("torch.nowhere")


def test_versions_compare_by_numbers() -> None:
    """As scripts compare them: text, tuples, local parts."""
    ours = Version(f"{INTERFACE}+gpugrad.0.1.0")
    assert ours >= "2.2"
    assert ours > "2.9.1"
    assert ours <= (99,)
    assert ours < "10"
    assert ours == INTERFACE
    assert not ours != INTERFACE  # noqa: SIM202
    assert ours != "2.0"
    assert Version("2.0.0") == "2.0"


# ---- how programs end ----------------------------------------------------------------------------

ENDS = {
    "sys.exit(3)": ("import sys; sys.exit(3)", 3, ""),
    "sys.exit(text)": ("import sys; sys.exit('no data')", 1, "no data\n"),
    "own error": (
        "raise ValueError('bad')", 1,
        ('Traceback (most recent call last):\n  File "{file}", line 1, in <module>\n'
        "    raise ValueError('bad')\nValueError: bad\n"),
    ),
    "own hook": (
        "import sys; sys.excepthook = lambda t, *a: print(t.__name__, file=sys.stderr); 1/0",
        1, "ZeroDivisionError\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "status", "err"), ENDS.values(), ids=ENDS)
def test_a_program_ends_as_under_python(
    script: Script, tmp_path: Path, text: str, status: int, err: str
) -> None:
    """Exit status and stderr, without a line of the runner in the traceback."""
    done = script(text)
    assert done.returncode == status
    assert done.stderr == err.format(file=tmp_path / "train.py")


def test_a_syntax_error_is_shown_where_it_is(script: Script) -> None:
    """With the line and no frame of ours."""
    done = script("x = (\n")
    assert done.returncode == 1
    assert 'train.py", line 1' in done.stderr
    assert "gpugrad" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    """As shells have it."""
    (tmp_path / "train.py").write_text("import time; print('on', flush=True); time.sleep(60)")
    child = subprocess.Popen(
        [sys.executable, "-m", "gpugrad", "run", "train.py"],
        cwd=tmp_path, env=ENV, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err.splitlines()[-1] == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere.py"], "gpugrad: nowhere.py: No such file or directory\n"),
        (["-m", "no.where"], "gpugrad: run: no module named 'no.where'\n"),
        (["."], "gpugrad: run: . is a folder without a __main__.py\n"),
        ([], "gpugrad: no script given (see gpugrad run --help)\n"),
        (["--nonsense", "x.py"], "No such option"),
    ],
    ids=["no file", "no module", "folder", "nothing", "option"],
)
def test_what_cannot_be_run_is_one_line(args: list[str], words: str, tmp_path: Path) -> None:
    """Exit status 1."""
    done = python("-m", "gpugrad", "run", *args, cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


# ---- names that gpugrad lacks --------------------------------------------------------------------

LACKS = {
    "function": ("torch.softplus(x)", "torch.softplus", "torch.nn.functional.softplus"),
    "from import": ("from gpugrad.nn import Lineer", "torch.nn.Lineer", "torch.nn.Linear"),
    "module": ("import gpugrad.nn.funktional", "torch.nn.funktional", "torch.nn.functional"),
    "method": ("x.masked_fil(x, 1)", "torch.Tensor.masked_fil", "torch.Tensor.masked_fill"),
    "of a class": ("torch.Tensor.unsqueze", "torch.Tensor.unsqueze", "torch.Tensor.unsqueeze"),
    "of an object": (
        "torch.nn.ReLU().inplac",
        "torch.nn.modules.activation.ReLU.inplac",
        "inplace",
    ),
}


def raised(text: str, file: Path) -> Exception:
    """The error that a program ends with."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        exec(compile(text, file, "exec"), {})
    return caught.value


@pytest.mark.parametrize(("line", "name", "near"), LACKS.values(), ids=LACKS)
def test_a_missing_name_is_explained(tmp_path: Path, line: str, name: str, near: str) -> None:
    """File, line, name and what is closest."""
    file = tmp_path / "train.py"
    error = raised(f"import gpugrad as torch\nx = torch.ones(2)\n\n{line}\n", file)
    words = report.explain(error)
    assert words.startswith(
        f"{os.path.relpath(file)}:4: {name}: gpugrad has no {name.split('.')[-1]!r}"
    )
    assert near in words


NOT_LACKING = {
    "own attribute": "import gpugrad\nclass Net(gpugrad.nn.Module): pass\nNet().nowhere",
    "own module": "import os\nos.nowhere",
    "another package": "import nowhere",
    "bad call": "import gpugrad\ngpugrad.ones(2) @ gpugrad.ones(3)",
    "name error": "nowhere",
}


@pytest.mark.parametrize("text", NOT_LACKING.values(), ids=NOT_LACKING)
def test_other_errors_are_not_taken_for_it(tmp_path: Path, text: str) -> None:
    """They say enough themselves."""
    assert report.explain(raised(text, tmp_path / "train.py")) == ""


def test_a_missing_name_ends_with_the_line_that_wanted_it(script: Script) -> None:
    """After a traceback of the script's lines alone."""
    done = script("import torch\n\nimport torch.nn.funktional\n")
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last.startswith("gpugrad: train.py:3: torch.nn.funktional: gpugrad has no 'funktional'")
    assert os.path.dirname(gpugrad.__file__) not in done.stderr


def test_a_missing_name_is_the_exception_that_python_has_for_it(script: Script) -> None:
    """Scripts that try and go without keep working."""
    done = script("""
        import torch
        try:
            from torch.nowhere import thing
        except ImportError:
            thing = None
        print(thing, hasattr(torch, "nowhere"), getattr(torch, "nowhere", 1))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "None False 1\n", "")


BROKEN = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def forward(self, x):
            return x @ x

    Net()(torch.ones(2, 3))
"""


def test_errors_of_gpugrad_show_the_scripts_lines_only(script: Script) -> None:
    """Unless all are asked for."""
    short = script(BROKEN).stderr
    assert "in forward" in short
    assert os.path.dirname(gpugrad.__file__) not in short
    assert short.splitlines()[-1].startswith("gpugrad.errors.ShapeError: matmul: (2, 3) @ (2, 3)")
    whole = script(BROKEN, options=("--full-traceback",)).stderr
    assert os.path.join("gpugrad", "dispatch.py") in whole


def test_a_package_built_on_pytorch_is_named(script: Script, tmp_path: Path) -> None:
    """One that asks for more of PyTorch than there is, and whose metadata requires it."""
    site = tmp_path / "env" / "site-packages"
    (site / "visiontools").mkdir(parents=True)
    (site / "visiontools" / "__init__.py").write_text("import torch\ntorch.nowhere.load('x.so')\n")
    info = site / "visiontools-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: visiontools\nRequires-Dist: torch\n"
    )
    (info / "top_level.txt").write_text("visiontools\n")
    (info / "RECORD").write_text("visiontools/__init__.py,,\n")
    done = script(f"import sys\nsys.path.append({str(site)!r})\nimport visiontools\n")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "visiontools is built on PyTorch itself" in last
    assert "__init__.py:2: torch.nowhere" in last


# ---- other processes -----------------------------------------------------------------------------

WORKERS = """
    import multiprocessing as mp, os, sys
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Squares(Dataset):
        def __len__(self):
            return 6
        def __getitem__(self, index):
            assert sys.modules["torch"].__name__ == "gpugrad"
            return torch.tensor(float(index)) ** 2, os.getpid()

    def name(_):
        return torch.__name__, torch.__version__

    if __name__ == "__main__":
        for method in ("spawn", "forkserver"):
            with mp.get_context(method).Pool(1) as pool:
                print(method, pool.map(name, [0]) == [name(0)])
        loader = DataLoader(Squares(), 3, num_workers=1, multiprocessing_context="spawn")
        for values, pids in loader:
            print(values.tolist(), os.getpid() in pids)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork server")
@pytest.mark.parametrize("way", ["script", "module"])
def test_worker_processes_have_the_same_torch(script: Script, tmp_path: Path, way: str) -> None:
    """Spawned ones and a fork server's import the script anew, before any code of ours."""
    if way == "script":
        done = script(WORKERS)
    else:
        (tmp_path / "job.py").write_text(textwrap.dedent(WORKERS))
        done = python("-m", "gpugrad", "run", "-m", "job", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "spawn True", "forkserver True", "[0.0, 1.0, 4.0] False", "[9.0, 16.0, 25.0] False",
    ]  # fmt: skip


@pytest.mark.torch
def test_pytorch_that_is_imported_already_is_refused(tmp_path: Path) -> None:
    """Two meanings of torch in one process would mix."""
    pytest.importorskip("torch")
    done = python("-c", "import torch, gpugrad.compat as c; c.install()", cwd=tmp_path)
    assert done.returncode == 1
    assert "PyTorch is imported already" in done.stderr.splitlines()[-1]


def test_installing_by_hand_is_the_same_and_can_be_repeated(tmp_path: Path) -> None:
    """For a notebook: ``gpugrad.compat.install()`` before ``import torch``."""
    code = (
        "import gpugrad.compat as c; c.install(); c.install()\n"
        "import torch.nn.functional as F, gpugrad; print(F is gpugrad.nn.functional)\n"
        "print(gpugrad.__version__.count('gpugrad'))"
    )
    assert python("-c", code, cwd=tmp_path).stdout == "True\n1\n"
