"""File damage as done by disks, transfers, editors, and attackers.

Each damage is drawn from a single number. Hypothesis draws these numbers and finds the fewest damages that
cause a failure. This costs a fraction of the time it would take if hypothesis drew every choice.
"""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

_SEEDS = st.integers(0, 2**40)

_NASTY_NUMBERS = (0, -1, 1, 255, 2**31 - 1, -(2**31), 2**32, 10**12, 2**62, 2**63 - 1, -(2**63))
_NASTY_TEXT = (
    b"",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\t",
    b"\t\t",
    b'"',
    b"'",
    b"\\",
    b",",
    b">",
    b" ",
    b"NaN",
    b"-inf",
    b"1e400",
    b"-1",
    b"9" * 40,
    b"9" * 5000,
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b"\x85",
    b"\x1c",
    b"\x0b",
    b"\x1f\x8b",
    b"PAR1",
    b"\x80\x04",
    b"A" * 3000,
    "\N{SNOWMAN}".encode(),
)
_SIZES = {"<b": 1, "<i": 4, "<q": 8, ">q": 8}


def broken(whole: Sequence[bytes], words: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """Whole files with up to five kinds of damage each, and bytes that were never a file.

    Args:
        whole: Files that can be read.
        words: What means something in this format, to be put in anywhere.
    """
    all_words = (*_NASTY_TEXT, *words)

    def damaged(seeds: Sequence[int]) -> bytes:
        if seeds[0] % 10 == 9:
            return random.Random(seeds[0]).randbytes(seeds[0] % 200)
        data = whole[seeds[0] % len(whole)]
        for seed in seeds:
            draw = random.Random(seed)
            data = draw.choice(_DAMAGES)(draw, data, whole, all_words)
        return data

    return st.lists(_SEEDS, min_size=1, max_size=5).map(damaged)


def _place(draw: random.Random, data: bytes) -> int:
    return int(draw.randint(0, len(data)))


def _flip(draw: random.Random, data: bytes, *_: Any) -> bytes:
    at = _place(draw, data)
    return data[:at] + bytes([draw.randint(0, 255)]) + data[at + 1 :]


def _cut(draw: random.Random, data: bytes, *_: Any) -> bytes:
    return data[: _place(draw, data)]


def _drop(draw: random.Random, data: bytes, *_: Any) -> bytes:
    at = _place(draw, data)
    return data[:at] + data[at + draw.randint(1, 40) :]


def _repeat(draw: random.Random, data: bytes, *_: Any) -> bytes:
    at = _place(draw, data)
    return data[:at] + data[at : at + draw.randint(1, 40)] * draw.randint(1, 9) + data[at:]


def _insert(draw: random.Random, data: bytes, _: Any, words: Sequence[bytes]) -> bytes:
    at = _place(draw, data)
    return data[:at] + draw.choice(words) + data[at:]


def _number(draw: random.Random, data: bytes, *_: Any) -> bytes:
    kind = draw.choice(sorted(_SIZES))
    at = _place(draw, data)
    bound = 1 << (8 * _SIZES[kind] - 1)
    value = (draw.choice(_NASTY_NUMBERS) + bound) % (2 * bound) - bound
    return data[:at] + struct.pack(kind, value) + data[at + _SIZES[kind] :]


def _splice(draw: random.Random, data: bytes, whole: Sequence[bytes], _: Any) -> bytes:
    other = draw.choice(whole)
    return data[: _place(draw, data)] + other[_place(draw, other) :]


def _double_line(draw: random.Random, data: bytes, *_: Any) -> bytes:
    lines = data.split(b"\n")
    at = draw.randint(0, len(lines) - 1)
    return b"\n".join([*lines[: at + 1], lines[at], *lines[at + 1 :]])


def _swap_fields(draw: random.Random, data: bytes, *_: Any) -> bytes:
    mark = draw.choice([b"\n", b"\t", b",", b":", b" ", b"\0"])
    fields = data.split(mark)
    first, second = (draw.randint(0, len(fields) - 1) for _ in range(2))
    fields[first], fields[second] = fields[second], fields[first]
    return mark.join(fields)


def _encode(draw: random.Random, data: bytes, *_: Any) -> bytes:
    text = data.decode("latin-1")
    return text.encode(draw.choice(["utf-8", "utf-8-sig", "utf-16", "utf-32-le", "utf-7"]))


def _line_ends(draw: random.Random, data: bytes, *_: Any) -> bytes:
    return data.replace(b"\n", draw.choice([b"\r\n", b"\r", b"\n\n", b"\n\r", b" \n", b"\0\n"]))


def _compress(draw: random.Random, data: bytes, *_: Any) -> bytes:
    return gzip.compress(data, 1, mtime=0) * draw.randint(1, 2)


_DAMAGES: tuple[Callable[..., bytes], ...] = (
    _flip,
    _cut,
    _drop,
    _repeat,
    _insert,
    _insert,
    _number,
    _splice,
    _double_line,
    _swap_fields,
    _encode,
    _line_ends,
    _compress,
    _flip,
)

_NASTY_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**6,
    10**12,
    2**63,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "1",
    "x" * 3000,
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    [1, "a", None],
    {"name": 1},
    {"": {}},
)


def broken_json(whole: Any, spare: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
    """JSON values with up to three places that hold something else, or nothing; some of them nested deep.

    Args:
        whole: What is there in a good file.
        spare: Values that mean something in this format.
    """

    def damaged(seeds: Sequence[int]) -> Any:
        found = whole
        for seed in seeds:
            found = _with_damage(random.Random(seed), found, (*_NASTY_VALUES, *spare))
        return found

    return st.lists(_SEEDS, min_size=1, max_size=3).map(damaged)


def _with_damage(draw: random.Random, value: Any, values: Sequence[Any]) -> Any:
    """The value with something else in one place, at whatever depth."""
    keys: list[Any] = []
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    action = draw.randint(0, 11)
    if action == 0 and isinstance(value, dict):
        return {**value, draw.choice(["new", "name", "", "\0"]): draw.choice(values)}
    if not keys or action == 1:
        return _deep(draw.choice([20, 150, 400, 900])) if action < 3 else draw.choice(values)
    key = draw.choice(keys)
    changed = value.copy()
    if action == 3:
        del changed[key]
    else:
        changed[key] = _with_damage(draw, value[key], values)
    return changed


def _deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found
