"""The command ``gpugrad`` itself: its subcommands, and how errors become one line."""

from __future__ import annotations

from collections.abc import Sequence

import click

import gpugrad
from gpugrad.cli import INTERRUPTED, fail
from gpugrad.cli.check import check
from gpugrad.cli.explain import explain
from gpugrad.cli.info import info
from gpugrad.cli.ops import ops
from gpugrad.cli.run import run as run_script
from gpugrad.cli.train import Stopped, train
from gpugrad.errors import GpugradError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gpugrad.__version__, prog_name="gpugrad")
def root() -> None:
    """A GPU-accelerated autograd engine in pure Python, with PyTorch's names."""


for _command in (run_script, check, train, info, ops, explain):
    root.add_command(_command)


def run(args: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; an error is printed as one line."""
    try:
        result = root.main(args, prog_name="gpugrad", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:  # `gpugrad` alone shows what there is
        click.echo(error.format_message(), err=True)
        return 1
    except Stopped as error:
        fail(error.format_message(), error.status)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        hint = f" (see {where} --help)" if where else ""
        fail(f"{_one_line(error.format_message())}{hint}")
    except (click.Abort, KeyboardInterrupt):
        click.echo("gpugrad: interrupted", err=True)
        return INTERRUPTED
    except OSError as error:
        what = error.strerror or str(error)
        fail(_one_line(f"{error.filename}: {what}" if error.filename else what))
    except GpugradError as error:
        fail(_one_line(str(error)))
    except MemoryError as error:
        fail(_one_line(f"out of memory: {error}").removesuffix(":"))  # it may have no words
    return result if isinstance(result, int) else 0


def _one_line(text: str) -> str:
    return " ".join(text.split())
