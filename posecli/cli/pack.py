"""``posecli train pack``: what recipes need, ready to travel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from posecli.cli import console, options
from posecli.cli.threads import make_threads_patient

_BYTES_PER_MB = 1_000_000


def pack(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes of poses and of detectors.")],
    data: Annotated[Path, typer.Option("--data", help="The folder that the recipes' paths are relative to.")],
    out_folder: Annotated[Path, typer.Option("--out-dir", help="Folder of the pieces; created if missing.")],
    piece_mb: Annotated[
        float, typer.Option("--piece-mb", min=0.001, max=2000, help="Size of a piece, at most (a million bytes).")
    ] = 60.0,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Of the pictures, as JPEG.")] = 90,
    rendered_count: Annotated[
        int,
        typer.Option(
            "--rendered-count",
            min=0,
            help="So many rendered windows of each folder, up to the end of a file; 0: as recipes say.",
        ),
    ] = 0,
    add: Annotated[
        list[Path] | None,
        typer.Option("--add", help="A file or folder to pack as it is, relative to --data. May be repeated."),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Pack what recipes need, small, to train with them on another machine.

    Pictures are cut to what training sees of them; held-out ones are left out. So the pieces are for training, not for evaluating.

    Example: posecli train pack posecli/training/recipes/glsmamba-s.toml --data DATA --out-dir pieces --rendered-count 5000
    """
    make_threads_patient()
    from posecli.training.pack import pack_data

    with console.progress("pack", unit="steps") as line:
        packed = pack_data(
            recipes,
            data,
            out_folder,
            add=[path.as_posix() for path in add or ()],
            rendered_count=rendered_count,
            quality=quality,
            piece_bytes=int(piece_mb * _BYTES_PER_MB),
            overwrite=overwrite,
            report=line,
        )
    for weights in packed.weights:
        console.warn(f"{weights}: a recipe starts from these weights; they are not packed")
    if as_json:
        console.print_json(packed)
    else:
        rows = [(p.name, f"{p.num_bytes / _BYTES_PER_MB:.1f} MB", p.num_files, p.sha256) for p in packed.pieces]
        console.print_table([dict(zip(("piece", "size", "files", "sha256"), row, strict=True)) for row in rows])
    console.info(f"unpack every piece into one folder: python -m zipfile -e {packed.pieces[0].name} DATA")
