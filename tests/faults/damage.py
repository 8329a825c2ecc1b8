"""Ways to damage a file, chosen by a seed: the same seed gives the same damage."""

import copy
import json
import math
import pickle
from typing import Any

import numpy as np

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 1.6, -0.5, 1e9, 1e40, 10**12, 2**63, math.nan, math.inf, -math.inf,
    '', 'x', '1', 'run', '\ufeffrun', 'a/../b', '\ud800', '{:d}', '{', '{:999999999d}', [], {},
    [[]], [1, 2, 3, 4], [[1, 2, 3, 4]], {'run': 1}, [None], 'null',
]  # fmt: skip
TEXTS = ['', '0', '-1', '1.6', 'nan', 'inf', '1e40', '99999999999', 'x', '"', ',', '\t', '\0',
         '\ufeff', '<', '&', '0902', '=', '\u2028', '1:999999999999']  # fmt: skip


def damage(data: bytes, kind: str, seed: int) -> tuple[bytes, str]:
    """A damaged copy of a file's content, and what was done to it.

    Args:
        data: The content.
        kind: ``'json'``, ``'pickle'``, ``'lines'`` or ``'bytes'``.
        seed: Chooses the damage.
    """
    rng = np.random.default_rng([seed, len(data)])
    ways = [flip, cut, insert, drop, repeat, zero]
    if kind == 'json':
        ways += [tree] * 12 + [mark, double_key, deep]
    elif kind == 'pickle':
        ways += [pickled] * 12
    elif kind == 'lines':
        ways += [field] * 8 + [line] * 4 + [mark]
    way = ways[int(rng.integers(len(ways)))]
    if seed == 0:
        return b'', 'empty'
    return way(data, rng), way.__name__


def place(data: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(max(len(data), 1)))


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        found[place(data, rng)] ^= int(rng.integers(1, 256))
    return bytes(found)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: place(data, rng)]


def insert(data: bytes, rng: np.random.Generator) -> bytes:
    at = place(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]


def drop(data: bytes, rng: np.random.Generator) -> bytes:
    at = place(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 40)) :]


def repeat(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = place(data, rng), int(rng.integers(1, 200))
    return data[:at] + data[at : at + length] + data[at:]


def zero(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = place(data, rng), int(rng.integers(1, 60))
    return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]


def mark(data: bytes, rng: np.random.Generator) -> bytes:
    """A byte order mark, or another encoding."""
    text = data.decode('utf-8')
    encoding = ['utf-8-sig', 'utf-16', 'utf-32', 'latin1'][int(rng.integers(4))]
    text = text.replace('a', 'ä') if encoding == 'latin1' else text
    return text.encode(encoding)


def deep(data: bytes, rng: np.random.Generator) -> bytes:
    return b'[' * 100_000 + b']' * 100_000


def double_key(data: bytes, rng: np.random.Generator) -> bytes:
    """A key twice in one object, of which a plain reader takes the last."""
    raw = json.loads(data)
    spots = [node for node in nodes(raw) if isinstance(node, dict) and node]
    if not spots:
        return b'{"a": 1, "a": 2}'
    chosen = spots[int(rng.integers(len(spots)))]
    key = list(chosen)[int(rng.integers(len(chosen)))]
    chosen['__twice__'] = chosen[key]
    return json.dumps(raw).replace('"__twice__"', json.dumps(key)).encode()


def nodes(raw: Any) -> list[Any]:
    """All containers of a tree."""
    found, todo = [], [raw]
    while todo:
        node = todo.pop()
        if isinstance(node, dict | list | tuple):
            found.append(node)
            todo += list(node.values()) if isinstance(node, dict) else list(node)
    return found


def spoil(raw: Any, rng: np.random.Generator) -> Any:
    """Change a tree in one to three places."""
    raw = copy.deepcopy(raw)
    for _ in range(int(rng.integers(1, 4))):
        spots = [node for node in nodes(raw) if isinstance(node, dict | list) and node]
        if not spots:
            return ODD[int(rng.integers(len(ODD)))]
        node = spots[int(rng.integers(len(spots)))]
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[int(rng.integers(len(keys)))]
        other = keys[int(rng.integers(len(keys)))]
        odd = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
        deed = int(rng.integers(6))
        if deed == 0:
            del node[key]
        elif deed == 1:
            node[key] = copy.deepcopy(node[other])
        elif deed == 2 and isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        elif deed == 3 and isinstance(node, dict):
            node[str(odd)[:20]] = node.pop(key)
        elif isinstance(node[key], int | float) and deed == 4:
            node[key] = node[key] * [-1, 0, 100, 0.01, 1.5][int(rng.integers(5))]
        else:
            node[key] = odd
    return raw


def tree(data: bytes, rng: np.random.Generator) -> bytes:
    return json.dumps(spoil(json.loads(data), rng)).encode()


def pickled(data: bytes, rng: np.random.Generator) -> bytes:
    raw = pickle.loads(data)
    if rng.integers(3):
        return pickle.dumps(spoil(raw, rng), protocol=2)
    arrays: list[tuple[Any, Any]] = []
    for node in nodes(raw):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        arrays += [(node, key) for key, value in items if isinstance(value, np.ndarray)]
    arrays = [(node, key) for node, key in arrays if not isinstance(node, tuple)]
    if not arrays:
        return pickle.dumps(spoil(raw, rng), protocol=2)
    node, key = arrays[int(rng.integers(len(arrays)))]
    found = node[key].astype(np.float64)
    deeds = [
        lambda a: a[:, :-1], lambda a: a.ravel(), lambda a: a[:0], lambda a: a * np.nan,
        lambda a: a * 100, lambda a: a - 500, lambda a: a / 64, lambda a: a[:, ::-1],
        lambda a: a.astype(object), lambda a: a.astype(str), lambda a: a.tolist(),
        lambda a: a + 0.5, lambda a: a[::-1], lambda a: a.astype(complex), lambda a: np.array(3.0),
        lambda a: a[None], lambda a: np.concatenate([a, a]),
    ]  # fmt: skip
    node[key] = deeds[int(rng.integers(len(deeds)))](found)
    return pickle.dumps(raw, protocol=2)


def field(data: bytes, rng: np.random.Generator) -> bytes:
    """Another value between two commas, quotes, blanks or line ends."""
    text = data.decode('utf-8')
    ends = [n for n, letter in enumerate(text) if letter in ',"= \n<>/:']
    at = int(rng.integers(len(ends) - 1))
    new = TEXTS[int(rng.integers(len(TEXTS)))]
    return (text[: ends[at] + 1] + new + text[ends[at + 1] :]).encode()


def line(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    at, other = (int(rng.integers(len(lines))) for _ in range(2))
    deed = int(rng.integers(4))
    if deed == 0:
        del lines[at]
    elif deed == 1:
        lines.insert(other, lines[at])
    elif deed == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = lines[at].strip()
    return b''.join(lines)
