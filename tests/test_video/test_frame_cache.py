"""Frames kept in memory are those of the file, as far as the limit goes."""

import numpy as np
import pytest

from mmstal_da.datasets.transforms import DecodeFrames
from mmstal_da.errors import ConfigError
from mmstal_da.video import reader
from mmstal_da.video.frame_cache import MIB, VARIABLE, FrameCache
from mmstal_da.video.reader import read_frames
from tests.clips import number_shown, numbered_frames, write_video

FRAME = 48 * 64 * 3  # bytes


@pytest.fixture
def cache(monkeypatch):
    """The reader's cache, empty and switched on."""
    monkeypatch.setattr(reader, '_kept', FrameCache())
    monkeypatch.setenv(VARIABLE, '30')
    reader._timeline.cache_clear()
    return reader._kept


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the frames at which decoding began."""
    starts, read = [], reader._read_from
    monkeypatch.setattr(reader, '_read_from', lambda *args: starts.append(args[-1]) or read(*args))
    return starts


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cache')
    return write_video(folder / 'clip.mp4', numbered_frames(90), codec='mpeg4', gop_size=12)


def test_the_frames_are_those_without_the_cache(video, cache, decoded, monkeypatch):
    draws = np.random.default_rng(0)
    asked = [draws.integers(1, 91, 8).tolist() for _ in range(12)]
    kept = [read_frames(video, indices) for indices in asked]
    times = len(decoded)
    monkeypatch.delenv(VARIABLE)
    for indices, frames in zip(asked, kept, strict=True):
        assert [number_shown(frame) for frame in frames] == indices
        assert all(map(np.array_equal, frames, read_frames(video, indices)))
    assert times < 6 < len(decoded) - times


def test_what_is_held_is_not_decoded_again(video, cache, decoded):
    for _ in range(5):
        read_frames(video, [80, 90])
    assert decoded == [1, 1]  # the first call keeps nothing: it shows how large frames are
    assert cache.used == 90 * FRAME


def test_changing_a_frame_does_not_change_what_is_held(video, cache):
    for _ in range(4):
        (frame,) = read_frames(video, [7])
        assert number_shown(frame) == 7
        frame[:] = 0


def test_a_changed_file_is_read_anew(tmp_path, cache):
    path = write_video(tmp_path / 'clip.mkv', numbered_frames(40))
    for _ in range(2):
        assert number_shown(read_frames(path, [40])[0]) == 40
    write_video(path, numbered_frames(100)[30:])
    for _ in range(2):
        assert number_shown(read_frames(path, [40])[0]) == 70


def test_the_videos_read_last_are_held(cache):
    def frames():
        return {1: np.zeros((100, 100, 3), np.uint8), 2: np.zeros((100, 100, 3), np.uint8)}

    for name in 'abc':
        cache.keep(name, frames(), 180_000)
    assert cache.find('a', [1])
    cache.keep('d', frames(), 180_000)
    assert list(cache.videos) == ['c', 'a', 'd']
    assert cache.used == 180_000
    cache.keep('a', frames(), 180_000)
    assert cache.used == 180_000
    assert cache.find('a', [1, 3]) is None


def test_a_long_video_is_not_kept(tmp_path, cache, monkeypatch):
    path = write_video(tmp_path / 'long.mp4', numbered_frames(120), codec='mpeg4', gop_size=12)
    monkeypatch.setenv(VARIABLE, str(10 * 119 * FRAME // MIB))
    for _ in range(3):
        assert number_shown(read_frames(path, [120])[0]) == 120
    assert cache.used == 0


def test_without_the_variable_nothing_is_kept(video, cache, monkeypatch):
    for value in ('', '0'):
        monkeypatch.setenv(VARIABLE, value)
        for _ in range(3):
            read_frames(video, [5])
    assert cache.used == 0


@pytest.mark.parametrize('value', ['-1', '1.5', 'much', ' '])
def test_a_wrong_limit_is_named(video, cache, monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    for call in (DecodeFrames, lambda: read_frames(video, [5])):
        with pytest.raises(ConfigError, match=VARIABLE):
            call()
