"""Weights by name: a registry, the embedded files, a cache, verified reading and atomic writing.

A weights file is safetensors; its header carries one metadata key, ``posecli``, with JSON ``{kind, config, metadata}``. Embedded
weights lie in ``weights/`` of the repository (``posecli/_weights`` of an installed wheel) beside ``manifest.json``, which says
what each must hash to. Remote ones are fetched once into the cache: ``POSECLI_HOME``, else the user's cache folder. A remote file
whose checksum nobody has published is trusted the first time: its checksum is recorded beside it, and checked ever after.
"""

from __future__ import annotations

from posecli.weights.cache import Removed, WeightsCheck, fetch_weights, prune_cache, resolve_weights, verify_weights
from posecli.weights.entry import WeightsEntry
from posecli.weights.export import export_weights
from posecli.weights.files import LoadedWeights, WeightsHeader, load_weights, read_header, save_weights
from posecli.weights.folders import cache_folder, embedded_folder
from posecli.weights.registry import MANIFEST_NAME, WEIGHTS, read_manifest, register_weights

__all__ = [
    "MANIFEST_NAME",
    "WEIGHTS",
    "LoadedWeights",
    "Removed",
    "WeightsCheck",
    "WeightsEntry",
    "WeightsHeader",
    "cache_folder",
    "embedded_folder",
    "export_weights",
    "fetch_weights",
    "load_weights",
    "prune_cache",
    "read_header",
    "read_manifest",
    "register_weights",
    "resolve_weights",
    "save_weights",
    "verify_weights",
]
