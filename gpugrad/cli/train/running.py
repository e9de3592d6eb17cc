"""What the commands of all jobs do around their loop: showing, saving, stopping, going on."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from gpugrad import io
from gpugrad.errors import GpugradError

if TYPE_CHECKING:
    from gpugrad.train.checkpoints import Checkpoints
    from gpugrad.train.classifier import Classifier
    from gpugrad.train.progress import Silent
    from gpugrad.train.trainer import Trainer


class Stopped(click.ClickException):
    """Training was asked to stop; the exit status is a shell's for that signal."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.status = 128 + number


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job with checkpoints is run, apart from what decides its outcome."""

    out: Path
    resume: bool
    restart: bool
    checkpoint_every: int
    checkpoint_minutes: float
    fail_on_nan: bool
    quiet: bool


def sorted_out(kind: Any, given: dict[str, Any]) -> tuple[Any, Plan]:
    """Options as the settings of a job (of the dataclass ``kind``) and the plan of its run."""
    plan = {f.name: given.pop(f.name) for f in fields(Plan)}
    return kind(**given), Plan(**plan)


def said(name: str) -> bool:
    """Whether an option was given on the command line, and is no default."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def console() -> Console:
    """Where things are shown: the terminal, or plain text."""
    return Console(highlight=False, soft_wrap=True)


def check_installed(**needed: str) -> None:
    """Refuse to start without these libraries, given as ``module=name``."""
    missing = [name for module, name in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise click.ClickException(
            f"training needs {' and '.join(missing)}, not installed: pip install 'gpugrad[demo]'"
        )


def watcher(kind: type[Trainer], screen: Console, quiet: bool) -> Silent:
    """What shows the progress of a job."""
    from gpugrad.train import progress

    if quiet:
        return progress.Silent()
    if screen.is_terminal:
        return progress.Live(kind.columns, screen)
    return progress.Plain(kind.columns)


def conduct(kind: Any, settings: Any, plan: Plan, screen: Console) -> tuple[Any, list[str]]:
    """Run a job with checkpoints to its end, and write what it leaves behind.

    Args:
        kind: the ``Trainer`` to make.
        settings: as the command line has them.
        plan: the rest of it.
        screen: where progress is shown.

    Returns:
        The run, and the names of the files in ``plan.out``.
    """
    from gpugrad.train import callbacks, report
    from gpugrad.train.checkpoints import Checkpoints
    from gpugrad.train.interrupt import Interruptible
    from gpugrad.train.surroundings import reproducible

    checkpoints = Checkpoints(
        plan.out, every=plan.checkpoint_every, minutes=plan.checkpoint_minutes, free=kind.free
    )
    content = None
    if plan.resume:
        content = checkpoints.read(kind.name)
        settings = _as_before(settings, content["settings"], kind.free, checkpoints.path)
    elif not plan.restart:
        _check_unfinished(checkpoints, kind.name)
    show = watcher(kind, screen, plan.quiet)
    told = [callbacks.FailOnNan(), show] if plan.fail_on_nan else [show]
    with Interruptible() as interruption, reproducible(settings.seed, settings.threads):
        with show:
            run = kind(settings, told, checkpoints)
            if content is not None:
                checkpoints.resume(run, content)
            run.run(interruption.stop)
        if run.interrupted:
            raise Stopped(
                interruption.signal,
                f"stopped {run.moment}; --resume goes on from {checkpoints.path}",
            )
        with io.staged(plan.out) as stage:
            names = report.write(run, stage, plan.out)
    return run, names


def tell(screen: Console, run: Classifier, out: Path, names: list[str]) -> None:
    """Say how well digits are read, and where things are."""
    words = run.part.replace("_", "-")
    screen.print(
        f"\n[bold]{run.accuracy:.2%}[/] of {len(run.labels())} {words} digits read correctly "
        f"({run.misread()} misread) after {run.rows[-1]['seconds']:.1f} s"
    )
    screen.print(f"{out}/: {', '.join(names)}")


def check_target(run: Classifier, target: float | None) -> None:
    """Fail if fewer than ``target`` percent were read correctly."""
    if target is not None and 100 * run.accuracy < target:
        words = run.part.replace("_", "-")
        raise click.ClickException(
            f"{100 * run.accuracy:.2f} % of the {words} digits read correctly, "
            f"fewer than the target of {target:g} %"
        )


def _as_before(given: Any, kept: dict[str, Any], free: tuple[str, ...], path: Path) -> Any:
    """The checkpoint's settings; those that may change are taken from the command line.

    Raises:
        ClickException: if another option was given that says otherwise.
    """
    merged, wrong = {}, []
    for name, value in asdict(given).items():
        before = kept.get(name, value)
        merged[name] = value if said(name) and name in free else before
        if said(name) and name not in free and value != before:
            option = "--" + name.replace("_", "-")
            wrong.append(
                f"{option} is {value} now and was {'not given' if before is None else before}"
            )
    if wrong:
        raise click.ClickException(
            f"--resume goes on with the settings in {path}, but {', '.join(wrong)}; "
            "leave them away, or begin anew in another --out"
        )
    return type(given)(**merged)


def _check_unfinished(checkpoints: Checkpoints, job: str) -> None:
    """Refuse to replace a run that could go on."""
    try:
        content = checkpoints.read(job)
    except (OSError, GpugradError):
        return  # none, of something else, or damaged: nothing that could go on
    step = content["run"].get("step")
    if not content["finished"]:
        raise click.ClickException(
            f"{checkpoints.path} is of a run that was stopped at step {step}; "
            "--resume goes on with it, --restart begins anew"
        )
