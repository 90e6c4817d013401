"""The command that goes on with runs that were cut off."""

import os
import shlex
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from napari_dipr.cli.data import console
from napari_dipr.errors import DiprError

if TYPE_CHECKING:
    from napari_dipr.io.cutoff import CutOff

# The words of the call that is being carried out.
WORDS: ContextVar[tuple[str, ...]] = ContextVar("words", default=())
# The run that was named to go on with; None: the call's newest.
NAME: ContextVar[str | None] = ContextVar("name", default=None)
# In the settings of a run that was started here.
KIND = "reconstruct"


def resume(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Which one, if there are several.", show_default="the only one")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Only list them.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Delete it instead.")] = False,
) -> None:
    """Go on with a reconstruction that was cut off by a crash, a kill or Ctrl-C, as if it had never been.

    It writes where the call that started it was to write.
    """
    from napari_dipr.io.cutoff import cut_off

    runs = cut_off()
    if listed:
        for run in runs:
            console.print(_told(run))
        if not runs:
            console.print("No run was cut off.")
        return
    chosen = [run for run in runs if name in (None, run.name)]
    if not chosen:
        raise DiprError("No run was cut off." if name is None else f"There is no run {name} that was cut off.")
    if len(chosen) > 1:
        for run in chosen:
            console.print(_told(run))
        raise DiprError(f"{len(chosen)} runs were cut off. Name one.")
    (run,) = chosen
    if discard:
        from napari_dipr.io.checkpoint import Claim

        Claim(run).discard()
        console.print(f"{escape(run.name)} is deleted.")
        return
    if run.settings.get("kind") != KIND:
        raise DiprError(f"{run.name} was started in the window. Open it (napari-dipr gui): it offers to go on.")
    folder = Path(run.settings["folder"])
    if not folder.is_dir():
        raise DiprError(f"{run.name} was started in {folder}, which is not there any more.")
    os.chdir(folder)
    root = context.find_root().command
    token = NAME.set(run.name)
    try:
        code = root.main([*run.settings["words"], "--resume"], standalone_mode=False)
    finally:
        NAME.reset(token)
    if code:
        raise typer.Exit(code)


def _told(run: "CutOff") -> str:
    words = shlex.join(run.settings.get("words", ())) or "started in the window"
    return f"[bold]{escape(run.name)}[/]  {escape(str(run))}\n  {escape(words)}"
