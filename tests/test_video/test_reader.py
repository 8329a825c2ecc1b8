import cv2
import numpy as np
import pytest

from mmstal_da.errors import VideoError
from mmstal_da.video import reader as video_reader
from mmstal_da.video.reader import count_frames, read_frames
from tests.clips import number_shown, numbered_frames, write_video

COUNT = 150
ENCODINGS = {
    'mpeg4.avi': dict(codec='mpeg4', gop_size=12, bit_rate=2_000_000),
    'b_frames.mp4': dict(codec='mpeg4', gop_size=12, max_b_frames=2, bit_rate=2_000_000),
    'b_frames.avi': dict(codec='mpeg4', gop_size=12, max_b_frames=2, bit_rate=2_000_000),
    'h264.mp4': dict(codec='libx264', gop_size=24),
    'one_key_frame.mp4': dict(codec='libx264', gop_size=1000),
    'lossless.mkv': dict(codec='ffv1'),
    'animation.gif': dict(codec='gif'),
}


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    frames = numbered_frames(COUNT)
    return {name: write_video(folder / name, frames, **how) for name, how in ENCODINGS.items()}


@pytest.mark.parametrize('name', ENCODINGS)
@pytest.mark.parametrize(
    'indices',
    [[1], [150], [70, 71, 72], [149, 148, 1, 149], [49, 60, 61, 62, 97], list(range(131, 151))],
    ids=str,
)
def test_the_frames_read_are_the_frames_asked(videos, name, indices):
    for _ in range(2):  # the second time by seeking
        frames = read_frames(videos[name], indices)
        assert [number_shown(frame) for frame in frames] == indices
    assert all(f.shape == (48, 64, 3) and f.dtype == np.uint8 for f in frames)


@pytest.mark.parametrize('name', ENCODINGS)
def test_opencv_sees_the_same_pixels(videos, name):
    capture = cv2.VideoCapture(str(videos[name]))
    reference = []
    while (image := capture.read()[1]) is not None:
        reference.append(image[..., ::-1])
    assert len(reference) == COUNT == count_frames(videos[name])
    frames = read_frames(videos[name], range(60, 100))
    for image, expected in zip(frames, reference[59:99], strict=True):
        assert np.abs(image.astype(int) - expected).mean() < 2


@pytest.fixture
def decoded(monkeypatch):
    """Counts the frames decoded."""
    frames, decode = [], video_reader.decode_video
    monkeypatch.setattr(
        video_reader,
        'decode_video',
        lambda *args: (frames.append(frame) or frame for frame in decode(*args)),
    )
    video_reader._timeline.cache_clear()
    return frames


@pytest.mark.parametrize('name', ['mpeg4.avi', 'b_frames.mp4', 'h264.mp4', 'lossless.mkv'])
def test_a_video_seen_before_is_sought(videos, name, decoded):
    read_frames(videos[name], [COUNT])
    assert len(decoded) == COUNT
    decoded.clear()
    frames = read_frames(videos[name], [100, 101])
    assert [number_shown(frame) for frame in frames] == [100, 101]
    assert len(decoded) <= 24 + 2


@pytest.mark.parametrize('name', ['mpeg4.avi', 'b_frames.mp4', 'h264.mp4', 'lossless.mkv'])
def test_a_video_seen_in_part_is_sought_as_far_as_it_is_known(videos, name, decoded):
    read_frames(videos[name], [80])
    decoded.clear()
    frames = read_frames(videos[name], range(110, 130))
    assert [number_shown(frame) for frame in frames] == list(range(110, 130))
    assert len(decoded) <= 24 + 50


def test_unexpected_time_stamps_lead_to_a_full_decode(videos, decoded):
    path = videos['mpeg4.avi']
    read_frames(path, [COUNT])
    stat = path.stat()
    timeline = video_reader._timeline(str(path), stat.st_mtime_ns, stat.st_size)
    del timeline.stamps[98]  # as if frame 99 had come without a time stamp
    decoded.clear()
    assert number_shown(read_frames(path, [105])[0]) == 105
    assert len(decoded) > 105


def test_a_changed_file_is_read_anew(tmp_path):
    path = write_video(tmp_path / 'clip.mkv', numbered_frames(60))
    assert number_shown(read_frames(path, [60])[0]) == 60
    write_video(path, numbered_frames(100)[30:])
    assert number_shown(read_frames(path, [60])[0]) == 90


def test_repeated_frames_do_not_share_memory(videos):
    first, second, third = read_frames(videos['mpeg4.avi'], [5, 5, 5])
    first[:] = 0
    second[:] = 1
    assert third.max() > 1
    assert first.flags.writeable
    assert first.flags.c_contiguous


@pytest.mark.parametrize('name', ['mpeg4.avi', 'h264.mp4', 'animation.gif'])
def test_a_frame_beyond_the_end_names_file_frame_and_length(videos, name):
    with pytest.raises(VideoError, match=rf'{name}: frame 151 .* after 150 frames'):
        read_frames(videos[name], [149, 151])
    with pytest.raises(VideoError, match=rf'{name}: frame 400 .* after 150 frames'):
        read_frames(videos[name], [400])


@pytest.mark.parametrize('name', ENCODINGS)
def test_a_truncated_file_is_an_error_or_reads_right(videos, name, tmp_path):
    path = tmp_path / name
    data = videos[name].read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    with pytest.raises(VideoError, match=name):
        read_frames(path, [145])


def test_errors_of_paths(tmp_path, videos):
    with pytest.raises(FileNotFoundError, match='data_prefix'):
        read_frames(tmp_path / 'missing.avi', [1])
    with pytest.raises(VideoError, match='filename_tmpl'):
        read_frames(tmp_path, [1])
    with pytest.raises(ValueError, match='counted from 1'):
        read_frames(videos['mpeg4.avi'], [0])
    (tmp_path / 'text.avi').write_text('no video')
    with pytest.raises(VideoError, match=r'text\.avi'):
        read_frames(tmp_path / 'text.avi', [1])


def test_image_folders(tmp_path):
    for number, image in enumerate(numbered_frames(9), 1):
        image[..., 2] = 40  # blue, to see RGB and BGR apart
        cv2.imwrite(str(tmp_path / f'img_{number:04d}.png'), image[..., ::-1])
    frames = read_frames(tmp_path, [9, 2, 2], 'img_{:04d}.png')
    assert [number_shown(frame) for frame in frames] == [9, 2, 2]
    assert (frames[0][..., 2] == 40).all()
    assert count_frames(tmp_path, 'img_{:04d}.png') == 9
    with pytest.raises(VideoError, match=r'img_0010\.png.*frame 10.*frames 1 to 9'):
        read_frames(tmp_path, [10], 'img_{:04d}.png')
    (tmp_path / 'img_0003.png').write_text('no image')
    with pytest.raises(VideoError, match=r'img_0003\.png'):
        read_frames(tmp_path, [3], 'img_{:04d}.png')


@pytest.mark.slow
def test_real_videos_read_as_a_full_decode(test_data):
    rng = np.random.default_rng(0)
    paths = sorted((test_data / 'ucf101_24/videos').iterdir())
    paths += sorted((test_data / 'jhmdb/clips/golf').iterdir())[:3]
    assert {path.suffix for path in paths} == {'.avi', '.mp4', '.gif'}
    for path in paths:
        total = count_frames(path)
        everything = read_frames(path, range(1, total + 1))
        first = int(rng.integers(1, total - 20 + 1))
        indices = range(first, first + 20)
        for index, frame in zip(indices, read_frames(path, indices), strict=True):
            assert np.array_equal(frame, everything[index - 1]), (path, index)


def test_the_length_is_that_of_the_pixels_not_of_the_header(test_data):
    # the AVI header of this clip says 48 frames
    path = test_data / 'jhmdb/clips/golf/Anna_Rawson_Driver_Practice_golf_f_nm_np1_ri_bad_0.avi'
    assert count_frames(path) == 40
    with pytest.raises(VideoError, match=r'frame 41 .* after 40 frames'):
        read_frames(path, [41])
