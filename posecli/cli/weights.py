"""``posecli weights``: list, find, fetch, verify, prune, import, export and register weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posecli.cli import console, options
from posecli.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from posecli.weights import WeightsEntry

app = typer.Typer(
    help="List, find, fetch, verify and convert network weights.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `posecli weights list`.")]


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the weights posecli knows."""
    from posecli.weights import WEIGHTS

    if json:
        console.print_json([_facts(entry) for entry in WEIGHTS.values()])
        return
    console.print_table([_row(entry) for entry in WEIGHTS.values()])
    if not WEIGHTS:
        console.info("no weights are registered")
    if any(entry.sha256 is None for entry in WEIGHTS.values()):
        console.info(
            "at first fetch: no checksum is known. The first fetch records one; every later fetch and verify checks it."
        )


def _facts(entry: WeightsEntry) -> dict[str, object]:
    recorded = entry.expected_sha256() if entry.sha256 is None else None
    here = {"path": entry.path, "where": entry.where, "is_present": entry.path.is_file(), "recorded_sha256": recorded}
    return asdict(entry) | here


def _row(entry: WeightsEntry) -> dict[str, object]:
    if entry.num_bytes is not None:
        size = f"{entry.num_bytes / 1e6:.1f} MB"
    elif entry.where == "cached":
        size = f"{entry.path.stat().st_size / 1e6:.1f} MB"
    else:
        size = f"< {(entry.max_bytes or 0) / 1e6:.0f} MB"
    checksum = "known" if entry.sha256 is not None else "recorded" if entry.expected_sha256() else "at first fetch"
    return {
        "name": entry.name,
        "kind": entry.kind,
        "size": size,
        "licence": entry.licence,
        "where": entry.where,
        "checksum": checksum,
        "accuracy": entry.accuracy or "not measured",
    }


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
    """Bring weights onto this machine, verified, for later use offline. A fetch that was cut off goes on where it stopped."""
    from posecli.weights import WEIGHTS, fetch_weights

    entry = WEIGHTS.get(name)
    was_known = entry is None or entry.expected_sha256() is not None
    with console.progress("fetch", unit="bytes") as report:
        found = fetch_weights(name, progress=report)
    console.print_data(str(found))
    if entry is not None and entry.sha256 is None:
        sha256 = entry.expected_sha256()
        told = "is the one recorded at the first fetch" if was_known else "is recorded now, to be checked ever after"
        console.info(
            f"no checksum of {name} was known beforehand: that of this file, {sha256}, {told} ({entry.record_path})"
        )
    if entry is not None and entry.origin != "posecli":
        console.info(entry.how_to_use)


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


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove unfinished fetches and files of earlier versions from the cache."""
    from posecli.weights import prune_cache

    removed = prune_cache(is_dry_run=dry_run)
    total = sum(row.num_bytes for row in removed)
    if json:
        console.print_json({"is_dry_run": dry_run, "num_bytes": total, "removed": removed})
        return
    console.print_table([{"file": row.path, "bytes": f"{row.num_bytes:,}"} for row in removed])
    verb = "would be removed" if dry_run else "removed"
    console.info(f"{len(removed)} files, {total:,} bytes {verb}")


@app.command()
def export(
    name: Name,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write, or a folder to write it in.")],
    overwrite: options.Overwrite = False,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
) -> None:
    """Copy weights, verified, to take elsewhere, with a JSON beside that says what they are."""
    from posecli.weights import export_weights

    with console.progress("fetch", unit="bytes") as report:
        copy, note = export_weights(name, out, overwrite=overwrite, progress=report)
    console.print_data(str(copy))
    console.info(f"described in {note}")


@app.command("import")
def import_(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="Whose checkpoint it is: posemamba, vitpose, movenet or multipose.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The public checkpoint, for example PoseMamba_S.bin.")],
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")],
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Convert a checkpoint of other software to a weights file; no code in it is run."""
    readers = {
        "posemamba": _import_posemamba,
        "vitpose": _import_vitpose,
        "movenet": _import_movenet,
        "multipose": _import_multipose,
    }
    if kind not in readers:
        raise ConfigError(f"unknown kind of checkpoint {kind!r}", hint=f"posecli imports: {', '.join(readers)}")
    for line in readers[kind](file, out, overwrite):
        console.info(line)
    console.print_data(str(out))


def _import_posemamba(file: Path, out: Path, overwrite: bool) -> list[str]:
    from posecli.lifting.official import import_posemamba

    read = import_posemamba(file, out, overwrite=overwrite)
    num_parameters = sum(tensor.numel() for tensor in read.tensors.values())
    size = f"width {read.config.d_model}, {2 * read.config.depth} blocks, {num_parameters:,} parameters"
    return [size, read.metadata["licence_note"]]


def _import_vitpose(file: Path, out: Path, overwrite: bool) -> list[str]:
    from posecli.pose.vitpose_checkpoint import LICENCE_NOTE, import_vitpose

    name, tensors = import_vitpose(file, out, overwrite=overwrite)
    num_values = sum(tensor.numel() for tensor in tensors.values())
    return [f"the encoder of {name}, {num_values:,} values, for training to start from", LICENCE_NOTE]


def _import_movenet(file: Path, out: Path, overwrite: bool) -> list[str]:
    from posecli.movenet import LICENCE_NOTE
    from posecli.pose.movenet_checkpoint import import_movenet

    tensors = import_movenet(file, out, overwrite=overwrite)
    num_values = sum(tensor.numel() for tensor in tensors.values())
    return [f"the encoder of MoveNet, {num_values:,} values, for training to start from", LICENCE_NOTE]


def _import_multipose(file: Path, out: Path, overwrite: bool) -> list[str]:
    from posecli.movenet import LICENCE_NOTE
    from posecli.people.multipose_checkpoint import import_multipose

    tensors = import_multipose(file, out, overwrite=overwrite)
    num_values = sum(tensor.numel() for tensor in tensors.values())
    return [f"the people's centres and boxes of MoveNet MultiPose, {num_values:,} values: a detector", LICENCE_NOTE]


@app.command()
def register(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A weights file in the folder of its manifest.json.")],
    name: Annotated[str, typer.Option("--name", help="What users will say.")],
    description: Annotated[str, typer.Option("--description", help="One line.")],
    licence: Annotated[str, typer.Option("--licence", help="SPDX identifier.")] = "Apache-2.0",
    skeleton: Annotated[str | None, typer.Option("--skeleton", help="The skeleton the network predicts.")] = None,
    accuracy: Annotated[str | None, typer.Option("--accuracy", help="One line: how accurate, on what.")] = None,
) -> None:
    """Enter a weights file into the manifest beside it (for those who release weights)."""
    from posecli.weights import register_weights

    entry = register_weights(
        file, name=name, description=description, licence=licence, skeleton=skeleton, accuracy=accuracy
    )
    console.print_data(f"{entry.name}  {entry.sha256}  {entry.num_bytes}")
