"""Bad values put into good documents, at random, from a fixed seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

SEED = 20260901

# What json.dumps cannot say stands as a text that `spell` turns into bare JSON.
_BARE = ("1e400", "-1e400", "123456789012345678901234567890", "NaN", "Infinity", "1e-320", "0.1e1", "-0")


def nasty_values(rng: random.Random) -> Any:
    """A value that has no business in the file."""
    choices: list[Any] = [
        None,
        True,
        -1,
        0,
        0.5,
        2**31,
        2**53 + 1,
        2**63 - 1,
        2**63,
        2**64 - 1,
        -(2**63),
        1e308,
        -1e308,
        3.5e38,
        1e-320,
        "",
        "x" * 5000,
        "\u202e\x00\n\x1b[31m",
        "../../etc/passwd",
        [],
        {},
        [[]],
        [None],
        [1e308] * 4,
        [-5.0, -5.0, -10.0, -10.0],
        list(range(1000)),
        nested(300),
        {"x": nested(260)},
        *[f"@{bare}@" for bare in _BARE],
    ]
    return rng.choice(choices)


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def mutate(document: Any, rng: random.Random, count: int) -> Any:
    """A copy with ``count`` places changed: replaced, removed, doubled, swapped."""
    document = copy.deepcopy(document)
    for _ in range(count):
        places = list(_places(document))
        if not places:
            break
        holder, key = rng.choice(places)
        _change(holder, key, rng)
    return document


def _change(holder: Any, key: Any, rng: random.Random) -> None:
    how = rng.random()
    if how < 0.65:
        holder[key] = nasty_values(rng)
    elif how < 0.85:
        del holder[key]
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        other = rng.choice(list(holder))
        holder[key], holder[other] = holder[other], holder[key]


def _places(value: Any) -> Any:
    """Every (container, key) of a tree; of long lists only some, so that deep places are as likely as many."""
    if isinstance(value, dict):
        items: Any = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))[:6]
    else:
        return
    for key, item in items:
        yield value, key
        yield from _places(item)


def spell(document: Any) -> bytes:
    """JSON with the bare numbers in it."""
    text = json.dumps(document)
    for bare in _BARE:
        text = text.replace(f'"@{bare}@"', bare)
    return text.encode()


def flip_bits(data: bytes, rng: random.Random, count: int, *, within: tuple[int, int] | None = None) -> bytes:
    """A copy with bits turned over, in a range of it."""
    start, end = within or (0, len(data))
    changed = bytearray(data)
    for _ in range(count):
        place = rng.randrange(start, min(end, len(data)))
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)
