"""Ways to read a random clip from a video: exactness and time.

Every reader reads the same clips of neighbouring frames at random positions. Each frame is compared
with the same frame of a full sequential decode by PyAV. It counts as wrong if it differs by more
than ``WRONG`` grey levels on average, or if the reader fails. (Converters of two libraries differ
by about one level, neighbouring frames of a moving scene by several.)

The package keeps the winner, :mod:`mmstal_da.video.reader`. OpenCV and decord are timed if they
are installed.
"""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from gpu_checks.training_step import Stopwatch

from mmstal_da.video.reader import read_frames

from .common import make_row, take_turns

WRONG = 3.0  # mean absolute difference in grey levels
OURS = 'this package'


def decode_all(path: str) -> list[np.ndarray]:
    """Decode a whole video in order: the reference. Returns (H, W, 3) uint8 RGB arrays."""
    with av.open(path) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


def read_av_sequential(path: str, indices: list[int]) -> list[np.ndarray]:
    """Decode from the first frame to the last requested one, convert the requested frames."""
    frames, wanted, last = {}, set(indices), max(indices)
    reformatter = VideoReformatter()
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0), 1):
            if number in wanted:
                frames[number] = reformatter.reformat(frame, format='rgb24', threads=1).to_ndarray()
            if number == last:
                break
    return [frames[i] for i in indices]


def read_cv2_sequential(path: str, indices: list[int]) -> list[np.ndarray]:
    """Grab up to the last requested frame, retrieve the requested frames."""
    import cv2

    frames, wanted = {}, set(indices)
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for number in range(1, max(indices) + 1):
        if not capture.grab():
            raise EOFError(f'{path}: frame {number}')
        if number in wanted:
            frames[number] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    return [frames[i] for i in indices]


def read_cv2_seek(path: str, indices: list[int]) -> list[np.ndarray]:
    """Set ``CAP_PROP_POS_FRAMES`` to the first requested frame and read from there."""
    import cv2

    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    first = min(indices)
    capture.set(cv2.CAP_PROP_POS_FRAMES, first - 1)
    frames = {}
    for number in range(first, max(indices) + 1):
        ok, frame = capture.read()
        if not ok:
            raise EOFError(f'{path}: frame {number}')
        frames[number] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    return [frames[i] for i in indices]


def read_decord(path: str, indices: list[int]) -> list[np.ndarray]:
    """Use the accurate batch access of decord."""
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    return list(reader.get_batch([i - 1 for i in indices]).asnumpy())


READERS = {
    OURS: read_frames,
    'PyAV sequential': read_av_sequential,
    'OpenCV sequential': read_cv2_sequential,
    'OpenCV seek': read_cv2_seek,
    'decord': read_decord,
}


def wrong_frames(got: list[np.ndarray], reference: list[np.ndarray]) -> int:
    """How many frames differ from the reference (another shape is wrong too)."""
    wrong = [
        a.shape != b.shape or float(np.abs(a.astype(np.int16) - b).mean()) > WRONG
        for a, b in zip(got, reference, strict=True)
    ]
    return sum(wrong)


def readers_row(videos: Sequence[Path], clips: int, clip_len: int, repeats: int, seed: int) -> dict:
    """Milliseconds per clip of every reader, median over clips and rounds.

    A reader that fails on some clips is compared with ours on the others.

    Args:
        videos: Files.
        clips: Random clips per video.
        clip_len: Frames per clip.
        repeats: Rounds; every clip is read by every reader in each.
        seed: Of the positions.
    """
    rng = np.random.default_rng(seed)
    times: dict[str, list[float]] = {name: [] for name in READERS}
    base: dict[str, list[float]] = {name: [] for name in READERS}
    wrong, failed = dict.fromkeys(READERS, 0), dict.fromkeys(READERS, '')
    for path in map(str, videos):
        reference = decode_all(path)
        for _ in range(clips):
            first = int(rng.integers(1, max(1, len(reference) - clip_len + 1) + 1))
            indices = list(range(first, min(first + clip_len, len(reference) + 1)))
            results = {name: attempt(name, path, indices) for name in READERS}  # the warm-up
            for name, result in results.items():
                if isinstance(result, str):
                    failed[name] = result
                    wrong[name] += len(indices)
                else:
                    wrong[name] += wrong_frames(result, [reference[i - 1] for i in indices])
            usable = [name for name, result in results.items() if not isinstance(result, str)]
            found = take_turns(
                {name: _timer(name, path, indices) for name in usable}, repeats, warm_up=0
            )
            for name in usable:
                times[name] += found[name]
                base[name] += found[OURS]
    extra = {name: dict(wrong_frames=wrong[name], failed=failed[name]) for name in READERS}
    partly = {name: base[name] for name in READERS if failed[name]}
    title = f'reading {len(videos) * clips} clips of {clip_len} frames'
    return make_row(title, 'ms', times, OURS, extra, partly)


def attempt(name: str, path: str, indices: list[int]) -> list[np.ndarray] | str:
    """The frames of a reader, or why it fails."""
    try:
        return READERS[name](path, indices)
    except Exception as error:
        if name == OURS:
            raise
        return f'{type(error).__name__} on {path}'


def _timer(name: str, path: str, indices: list[int]):
    """Milliseconds of one clip."""

    def run() -> float:
        with Stopwatch('cpu') as watch:
            READERS[name](path, indices)
        return 1000 * watch.seconds

    return run
