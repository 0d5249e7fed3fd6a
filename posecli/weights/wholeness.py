"""Whether a file of unknown checksum is at least whole and of its kind: all that can be said of it before it is trusted."""

from __future__ import annotations

import zipfile
from pathlib import Path

from posecli.errors import WeightsError

_BROKEN_ARCHIVE = (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError)


def check_whole(path: Path, *, suffix: str) -> None:
    """Refuse what is cut short, damaged, or no weights at all (such as the page of a login).

    PyTorch files are archives with a checksum for every part; safetensors say how long they are. No code in them is run.

    Args:
        path: The file.
        suffix: What the whole file's name ends in, which says what it should be.

    Raises:
        WeightsError: It is not a whole file of its kind.
    """
    if suffix == ".safetensors":
        _check_safetensors(path)
    else:
        _check_archive(path)


def refuse_packed(path: Path) -> None:
    """Refuse a PyTorch archive whose parts together are larger than itself: PyTorch packs nothing, only bombs do.

    Files of another kind are let through.

    Raises:
        WeightsError: It is such an archive, or its table of parts cannot be read.
    """
    with path.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(part.file_size for part in archive.infolist())
    except _BROKEN_ARCHIVE as error:
        hint = "fetch the file again and compare its size with the source's"
        raise WeightsError(f"{path}: damaged or cut short", hint=hint) from error
    if num_bytes > path.stat().st_size:
        hint = "PyTorch stores its parts as they are; fetch the file from its maker"
        raise WeightsError(f"{path}: claims {num_bytes:,} bytes of tensors, more than it has", hint=hint)


def is_plain_tensor(value: object) -> bool:
    """Whether a value is a tensor of real numbers that are all there: not sparse, quantized, complex, or without data."""
    import torch

    if not isinstance(value, torch.Tensor) or value.layout is not torch.strided or value.device.type != "cpu":
        return False
    return not (value.is_quantized or value.is_complex())


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            if not list(stream.keys()):
                raise _broken("holds no tensors")
    except (OSError, SafetensorError) as error:
        raise _broken(str(error)) from error


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise _broken("a compressed archive, which PyTorch never writes")
            damaged = archive.testzip()
            names = archive.namelist()
    except _BROKEN_ARCHIVE as error:
        raise _broken(str(error)) from error
    if damaged is not None:
        raise _broken(f"{damaged} is damaged")
    if not any(name.endswith("data.pkl") for name in names):
        raise _broken("no PyTorch checkpoint")


def _broken(what: str) -> WeightsError:
    return WeightsError(
        f"what arrived is not a whole weights file ({what}), and no checksum is known for it; nothing was kept",
        hint="try again later, or fetch the file by hand and pass its path",
    )
