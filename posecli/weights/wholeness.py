"""Whether a file of unknown checksum is at least whole and of its kind: all that can be said of it before it is trusted."""

from __future__ import annotations

import zipfile
from pathlib import Path

from posecli.errors import WeightsError


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
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
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
