"""``gpugrad run``: a PyTorch script, unchanged, on gpugrad."""

from __future__ import annotations

import click

from gpugrad.compat import runner


class _AsPython(click.Command):
    """``-m MODULE`` ends the options, as it does for ``python``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "-m" in args:
            end = args.index("-m") + 2
            if all(a.startswith("-") for a in args[: end - 2]):
                args = [*args[:end], "--", *args[end:]]
        return super().parse_args(ctx, args)


@click.command(
    short_help="Run a PyTorch script on gpugrad.",
    context_settings={"allow_interspersed_args": False},
    cls=_AsPython,
)
@click.option("-m", "module", metavar="MODULE", help="Run a module by its dotted name.")
@click.option("--full-traceback", is_flag=True, help="Show gpugrad's own lines in tracebacks, too.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]...")
def run(module: str | None, full_traceback: bool, command: tuple[str, ...]) -> int:
    """Run SCRIPT with ARGS as Python would, with `import torch` meaning gpugrad.

    The script is not changed, and PyTorch need not be installed.  A name that gpugrad lacks ends
    the script with the line that wanted it; `gpugrad check SCRIPT` lists them beforehand.
    """
    if module is not None:
        return runner.run_module(module, command, full_traceback)
    if not command:
        raise click.UsageError("no script given")
    script, *args = command
    return runner.run_file(script, args, full_traceback)
