"""`import posecli` is light and gives what its docstring promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

import posecli


def test_every_public_name_is_there() -> None:
    assert all(getattr(posecli, name) is not None for name in posecli.__all__)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'annotat'"):
        posecli.annotat  # noqa: B018


def test_importing_it_is_light() -> None:
    code = "import sys, posecli; assert not {'torch', 'cv2', 'av', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
