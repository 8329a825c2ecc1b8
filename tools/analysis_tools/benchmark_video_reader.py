"""Compare ways to read a random clip from a video: exactness and time.

    python tools/analysis_tools/benchmark_video_reader.py VIDEO [VIDEO ...] [--clips 20]

Every reader reads the same clips of ``--clip-len`` neighbouring frames at random positions. Each
frame is compared with the same frame of a full sequential decode by PyAV. It counts as wrong if it
differs by more than ``WRONG`` grey levels on average, or if the reader fails. (Converters of two
libraries differ by about one level, neighbouring frames of a moving scene by several.) The rounds
of the readers alternate, so a busy machine slows all of them equally.

The package keeps the winner, :mod:`mmstal_da.video.reader`. OpenCV and decord are timed if they
are installed.
"""

import argparse
import time

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mmstal_da.video.reader import read_frames

WRONG = 3.0  # mean absolute difference in grey levels


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
    'this package': read_frames,
    'PyAV sequential': read_av_sequential,
    'OpenCV sequential': read_cv2_sequential,
    'OpenCV seek': read_cv2_seek,
    'decord': read_decord,
}


def wrong_frames(got: list[np.ndarray], reference: list[np.ndarray]) -> int:
    """How many frames differ from the reference (another shape is wrong too)."""
    return sum(
        a.shape != b.shape or np.abs(a.astype(np.int16) - b).mean() > WRONG
        for a, b in zip(got, reference, strict=True)
    )


def main() -> None:
    """Time the readers and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('videos', nargs='+', metavar='VIDEO')
    parser.add_argument('--clips', type=int, default=20, help='random clips per video')
    parser.add_argument('--clip-len', type=int, default=20, help='frames per clip')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    seconds, base, read_clips, wrong = (dict.fromkeys(READERS, 0) for _ in range(4))
    failed = dict.fromkeys(READERS, '')
    frames = 0
    for path in args.videos:
        reference = decode_all(path)
        for _ in range(args.clips):
            first = rng.integers(1, max(1, len(reference) - args.clip_len + 1) + 1)
            last = min(first + args.clip_len, len(reference) + 1)
            indices = list(range(int(first), int(last)))
            frames += len(indices)
            for name, read in READERS.items():
                start = time.perf_counter()
                try:
                    got = read(path, indices)
                except Exception as error:  # noqa: BLE001 (a reader that fails is a result here)
                    failed[name] = f'{type(error).__name__} on {path}'
                    wrong[name] += len(indices)
                    continue
                took = time.perf_counter() - start
                if name == 'this package':
                    reference_time = took
                seconds[name] += took
                base[name] += reference_time
                read_clips[name] += 1
                wrong[name] += wrong_frames(got, [reference[i - 1] for i in indices])

    print(f'{len(args.videos)} videos, {len(args.videos) * args.clips} clips, {frames} frames')
    print('time per clip that could be read, and its ratio to this package on the same clips')
    print(f'{"reader":20s} {"ms/clip":>8s} {"ratio":>6s} {"wrong frames":>12s}')
    for name in READERS:
        clips = max(read_clips[name], 1)
        ratio = seconds[name] / base[name] if base[name] else float('nan')
        line = f'{name:20s} {1000 * seconds[name] / clips:8.1f} {ratio:6.2f}'
        print(f'{line} {wrong[name]:12d}  {failed[name]}'.rstrip())


if __name__ == '__main__':
    main()
