"""The small file of detections, against rounding row by row."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.evaluation.compact import encode_compact, pack, unpack
from mmstal_da.evaluation.files import load_detections
from tests.evaluation_cases import random_case


def rounded(rows: np.ndarray, score_thr: float = 0.01) -> list[tuple]:
    """Each row by the definition, sorted."""
    found = []
    for row in rows.tolist():
        score = round(row[3] * 65535)
        if score / 65535 > score_thr:
            found.append(
                (*row[:3], np.float32(score / 65535), *(round(v * 16) / 16 for v in row[4:]))
            )
    return sorted(found)


def shaken(seed: int, num_dets: int = 300) -> np.ndarray:
    """Rows with fractions of pixels, and boxes that several classes share."""
    rng = np.random.default_rng(seed)
    _, rows = random_case(seed, num_dets=num_dets)
    rows = rows.astype(np.float64)
    rows[:, 4:] += np.sort(rng.uniform(-40, 3, (len(rows), 1)), 1) + rng.choice([0, 0.03125], 1)
    rows[:, 3] = rng.choice([1e-4, 1, 1], len(rows)) * rng.random(len(rows))
    rows[::9, 3] = 0.01 + rng.uniform(-2e-5, 2e-5, len(rows[::9]))
    twice = rows[rng.integers(0, len(rows), len(rows) // 2)]
    return np.concatenate((rows, twice + [0, 0, 1, 0, 0, 0, 0, 0]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_rows_come_back_rounded(seed):
    rows = shaken(seed)
    back = unpack(pack(rows))
    assert back.dtype == np.float32
    assert sorted(map(tuple, back.tolist())) == rounded(rows)
    again = pack(back)  # rounding what is rounded changes nothing, order included
    assert {k: v.tobytes() for k, v in again.items()} == {
        k: v.tobytes() for k, v in pack(rows).items()
    }


def test_no_detections_come_back_as_none():
    assert unpack(pack(np.zeros((0, 8)))).shape == (0, 8)


def test_the_file_is_read_like_any_other(tmp_path):
    rows = shaken(3)
    videos, labels = ['x', 'y', 'z'], ['a', 'b', 'c', 'd']
    content, score_thr = encode_compact(rows, videos, labels, {'split': 'test'})
    assert (content, score_thr) == encode_compact(rows, videos, labels, {'split': 'test'})
    (tmp_path / 'dets.npz').write_bytes(content)
    found = load_detections(tmp_path / 'dets.npz')
    assert (found.videos, found.labels) == (videos, labels)
    assert found.meta == {'split': 'test', 'score_thr': 0.01, 'box_step': 0.0625}
    assert sorted(map(tuple, found.dets.tolist())) == rounded(rows)


@pytest.mark.parametrize('where', [0.2, 0.5, 0.9])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, where):
    content, _ = encode_compact(shaken(3), ['x'], ['a'], {})
    broken = bytearray(content)
    at = math.floor(where * len(content))
    broken[at : at + 20] = b'\xff' * 20
    (tmp_path / 'dets.npz').write_bytes(broken)
    with pytest.raises(ValueError, match='dets.npz'):
        load_detections(tmp_path / 'dets.npz')


@pytest.mark.slow
def test_too_large_a_file_loses_its_lowest_scores():
    rows = shaken(5, 2000)
    size = len(encode_compact(rows, ['x'], ['a'], {})[0])
    for limit in (size, size - 1, size // 2, 1800):
        content, score_thr = encode_compact(rows, ['x'], ['a'], {}, limit)
        assert len(content) <= limit
        lower = round(score_thr - 0.005, 3)  # is too large, up to the length of its own digits
        kept = rows[np.rint(rows[:, 3] * 65535) > lower * 65535]
        assert limit == size or len(encode_compact(kept, ['x'], ['a'], {})[0]) > limit - 8
        assert (score_thr == 0.01) == (limit == size)
    with pytest.raises(ValueError, match='names of videos and classes alone'):
        encode_compact(rows, ['x' * 500], ['a'], {}, 900)


@pytest.mark.parametrize('change', [(3, 1.5), (3, -0.1), (5, np.nan), (7, 2e7)])
def test_what_cannot_be_packed_is_named(change):
    rows = shaken(1)
    rows[4, change[0]] = change[1]
    with pytest.raises(ValueError, match='row 4: scores lie in'):
        pack(rows)
