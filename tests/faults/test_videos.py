"""Damaged videos and images: an error that names the file, or a video of the right length.

A byte that is wrong but still reads as video changes pixels, and no decoder can tell. So only for
formats with checksums (FFV1, PNG) equal pixels are asked for.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmstal_da.errors import VideoError
from mmstal_da.tubes.annotation import Video
from mmstal_da.tubes.index import read_video
from mmstal_da.tubes.integrity import check_video
from mmstal_da.video.reader import count_frames, frame_rate, iter_frames, read_frames
from tests.clips import write_video
from tests.faults.damage import damage
from tests.faults.guard import no_hang
from tests.test_video.test_decoding import textured

COUNT = 20
CODECS = {
    'a.avi': dict(codec='mpeg4', gop_size=6),
    'a.mp4': dict(codec='libx264', gop_size=6),
    'b.mp4': dict(codec='libx265', gop_size=6),
    'a.mkv': dict(codec='ffv1'),
    'a.webm': dict(codec='libvpx-vp9', bit_rate=300_000),
    'a.flv': dict(codec='flv'),
    'a.wmv': dict(codec='wmv2'),
    'a.mpg': dict(codec='mpeg2video', gop_size=6),
    'a.ts': dict(codec='libx264', gop_size=6),
    'a.gif': dict(codec='gif'),
}
MANY = 25  # seeds of every format


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp('videos')
    frames = textured(COUNT, 64, 96)
    return {n: write_video(folder / n, frames, **how).read_bytes() for n, how in CODECS.items()}


def every_reading(path: Path) -> list[np.ndarray] | None:
    """All frames if nothing complains; None if everything that complains names the file."""
    video = Video(path.name, COUNT, 96, 64)
    complaint = check_video('a', video, [], path.parent)
    indexed = read_video((path.parent, Path(path.name), None))
    frames = None
    try:
        count = count_frames(path)
        frames = list(iter_frames(path))
        assert len(frames) == count
        frame_rate(path)
        for wanted in ([count], [1, count // 2 + 1]):
            for number, frame in zip(wanted, read_frames(path, wanted), strict=True):
                assert np.array_equal(frame, frames[number - 1])
    except VideoError as error:
        assert str(path) in str(error)
        assert complaint is not None and isinstance(indexed, str), error
    if complaint is None:
        assert frames is not None and len(frames) == COUNT
        assert isinstance(indexed, Video) and indexed.num_frames == COUNT
        return frames
    assert complaint.file == str(path)
    if isinstance(indexed, str):
        assert str(path) in indexed
    return None


@pytest.mark.slow
@pytest.mark.parametrize('name', CODECS)
def test_damaged_videos(whole, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(whole[name])
    reference = every_reading(path)
    assert reference is not None
    found = 0
    for seed in range(MANY):
        data, way = damage(whole[name], 'bytes', seed)
        path.write_bytes(data)
        with no_hang(f'{name}, seed {seed} ({way})'):
            frames = every_reading(path)
        found += frames is None
        if frames is not None and CODECS[name]['codec'] == 'ffv1':
            assert all(map(np.array_equal, frames, reference)), (seed, way)
    assert found >= 3


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp', 'webp', 'tif'])
def test_damaged_images(tmp_path, suffix):
    template, frames = f'{{:05d}}.{suffix}', textured(4, 64, 96)
    for number, image in enumerate(frames, 1):
        Image.fromarray(image).save(tmp_path / template.format(number))
    video, file = Video(tmp_path.name, 4, 96, 64, template), tmp_path / template.format(2)
    whole = file.read_bytes()
    reference = read_frames(tmp_path, [2], template)[0]
    found = 0
    for seed in range(30):
        data, way = damage(whole, 'bytes', seed)
        file.write_bytes(data)
        with no_hang(f'{suffix}, seed {seed} ({way})'):
            complaint = check_video('a', video, [], tmp_path.parent)
            try:
                frame = read_frames(tmp_path, [2], template)[0]
            except VideoError as error:
                assert str(file) in str(error)
                found += 1
                continue
        if complaint is not None:
            assert complaint.file == str(file)
            found += 1
        elif suffix == 'png':
            assert np.array_equal(frame, reference), (seed, way)
    assert found >= 3


def test_what_is_no_video_at_all(tmp_path):
    rng = np.random.default_rng(0)
    texts = [b'', b'\0' * 500, b'<html>404 Not Found</html>' * 40, rng.bytes(3000), b'RIFF',
             b'GIF89a', b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
             b'\x1aE\xdf\xa3' + rng.bytes(200), b'\0\0\0\x18ftypmp42' + rng.bytes(100)]  # fmt: skip
    for number, text in enumerate(texts):
        for suffix in ('.avi', '.mp4', '.mkv', '.gif'):
            path = tmp_path / f'{number}{suffix}'
            path.write_bytes(text)
            with no_hang(path.name):
                assert every_reading(path) is None
