"""``posecli weights``: list, find, verify, fetch, import and register weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from posecli.cli import console, options
from posecli.errors import ConfigError, WeightsError

app = typer.Typer(help="List, find, verify and fetch network weights.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `posecli weights list`.")]


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the weights posecli knows."""
    from posecli.weights import WEIGHTS

    rows = [asdict(entry) | {"path": entry.path, "is_present": entry.path.is_file()} for entry in WEIGHTS.values()]
    if json:
        console.print_json(rows)
        return
    console.print_table(
        [
            {
                "name": row["name"],
                "kind": row["kind"],
                "size": f"{row['num_bytes'] / 1e6:.1f} MB",
                "licence": row["licence"],
                "here": "yes" if row["is_present"] else "no",
                "description": row["description"],
            }
            for row in rows
        ]
    )
    if not rows:
        console.info("no weights are registered")


@app.command()
def path(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered name, or the path of a weights file.")],
    offline: options.Offline = False,
    quiet: options.Quiet = False,
) -> None:
    """Print where a weights file is, fetching it first if need be."""
    from posecli.weights import resolve_weights

    with console.progress("fetch", unit="bytes") as report:
        found = resolve_weights(name, progress=report)
    console.print_data(str(found))


@app.command()
def fetch(name: Name, offline: options.Offline = False, quiet: options.Quiet = False) -> None:
    """Bring weights onto this machine, verified, for later use offline."""
    from posecli.weights import fetch_weights

    with console.progress("fetch", unit="bytes") as report:
        found = fetch_weights(name, progress=report)
    console.print_data(str(found))


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One name; all when left out.")] = None,
    json: options.Json = False,
) -> None:
    """Check every file on this machine against its checksum."""
    from posecli.weights import verify_weights

    checks = verify_weights(name)
    if json:
        console.print_json(checks)
    else:
        console.print_table([{"name": c.name, "status": c.status, "detail": c.detail} for c in checks])
    bad = [check for check in checks if check.status == "corrupt" or (name is not None and check.status == "absent")]
    if bad:
        raise WeightsError(
            f"{bad[0].path}: {bad[0].status}: {bad[0].detail}", hint="reinstall posecli or fetch it again"
        )


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Whose checkpoint it is: posemamba.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The authors' checkpoint, for example PoseMamba_S.bin.")],
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")],
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Convert a checkpoint of other software to a weights file; no code in it is run."""
    if kind != "posemamba":
        raise ConfigError(f"unknown kind of checkpoint {kind!r}", hint="posecli imports: posemamba")
    from posecli.lifting.official import import_posemamba

    read = import_posemamba(file, out, overwrite=overwrite)
    num_parameters = sum(tensor.numel() for tensor in read.tensors.values())
    console.info(f"width {read.config.d_model}, {2 * read.config.depth} blocks, {num_parameters:,} parameters")
    console.info(read.metadata["licence_note"])
    console.print_data(str(out))


@app.command()
def register(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A weights file in the folder of its manifest.json.")],
    name: Annotated[str, typer.Option("--name", help="What users will say.")],
    description: Annotated[str, typer.Option("--description", help="One line.")],
    licence: Annotated[str, typer.Option("--licence", help="SPDX identifier.")] = "Apache-2.0",
    skeleton: Annotated[str | None, typer.Option("--skeleton", help="The skeleton the network predicts.")] = None,
) -> None:
    """Enter a weights file into the manifest beside it (for those who release weights)."""
    from posecli.weights import register_weights

    entry = register_weights(file, name=name, description=description, licence=licence, skeleton=skeleton)
    console.print_data(f"{entry.name}  {entry.sha256}  {entry.num_bytes}")
