"""Random ground truth and detections for the tests of the evaluation."""

import numpy as np

from mmstal_da.tubes.annotation import Annotation, Tube, Video

NUM_LABELS = 3


def random_case(
    seed: int,
    num_videos: int = 3,
    max_frames: int = 12,
    num_dets: int = 60,
    score_steps: int | None = None,
    grid: int = 1,
    gt_gaps: bool = False,
) -> tuple[dict, np.ndarray]:
    """Ground truth in ACT's format and (M, 8) detections with every kind of coincidence.

    Half of the detections are ground truth, shaken; the others are anywhere. Some are repeated
    exactly. The last class and the last video have no ground truth, the first video has some.

    Args:
        seed: Everything follows from it.
        num_videos: Videos.
        max_frames: Longest video; the shortest has one frame.
        num_dets: Detections before the repetitions.
        score_steps: Number of distinct scores, for ties; None draws all apart.
        grid: Coordinates are multiples of this.
        gt_gaps: Leave frames out of the ground-truth tubes.
    """
    rng = np.random.default_rng(seed)
    videos = [f'video {v}' for v in range(num_videos)]
    nframes = {name: int(rng.integers(1, max_frames + 1)) for name in videos}
    gttubes: dict = {}
    rows = []
    for v, name in enumerate(videos):
        gttubes[name] = {}
        for _ in range(rng.integers(v == 0, 4) if v < num_videos - 1 else 0):
            first, last = np.sort(rng.integers(1, nframes[name] + 1, 2))
            frames = np.arange(first, last + 1)
            if gt_gaps:
                frames = frames[(rng.random(len(frames)) < 0.7) | (frames == last)]
            corner = rng.integers(0, 30, 2) + np.cumsum(rng.integers(-2, 3, (len(frames), 2)), 0)
            size = rng.integers(4, 20, 2)
            tube = np.column_stack((frames, corner, corner + size)).astype(np.float64)
            label = int(rng.integers(0, NUM_LABELS - 1))
            gttubes[name].setdefault(label, []).append(tube)
            rows += [(v, row[0], label, *row[1:]) for row in tube]
    known = np.array(rows)
    near = known[rng.integers(0, len(known), num_dets // 2)].copy()
    near[:, 3:] += rng.integers(-2, 3, near[:, 3:].shape)
    swap = rng.random(len(near)) < 0.2
    near[swap, 2] = rng.integers(0, NUM_LABELS, swap.sum())
    video = rng.integers(0, num_videos, num_dets - len(near))
    frame = [rng.integers(1, nframes[videos[v]] + 1) for v in video]
    corner = rng.integers(0, 40, (len(video), 2))
    far = np.column_stack(
        (
            video,
            frame,
            rng.integers(0, NUM_LABELS, len(video)),
            corner,
            corner + rng.integers(0, 20, corner.shape),
        )
    ).reshape(-1, 7)
    found = np.concatenate((near, far))
    found[:, 3:5] = found[:, 3:5] // grid * grid
    found[:, 5:] = np.maximum(found[:, 5:] // grid * grid, found[:, 3:5])
    score = rng.random(len(found))
    if score_steps is not None:
        score = np.ceil(score * score_steps) / score_steps
    dets = np.column_stack((found[:, :3], score, found[:, 3:]))
    repeated = dets[rng.integers(0, len(dets), len(dets) // 8)] if len(dets) else dets
    dets = rng.permutation(np.concatenate((dets, repeated)))
    gt = {
        'labels': [f'class {label}' for label in range(NUM_LABELS)],
        'videos': videos,
        'nframes': nframes,
        'gttubes': gttubes,
    }
    return gt, dets


def annotation_of(gt: dict) -> Annotation:
    """The same ground truth as an annotation file with one split, ``test``."""
    tubes = {
        name: [
            Tube(gt['labels'][label], tube[:, 0].astype(int), tube[:, 1:].astype(np.float32))
            for label, items in of_video.items()
            for tube in items
        ]
        for name, of_video in gt['gttubes'].items()
    }
    videos = {name: Video(f'{name}.avi', n, 64, 64) for name, n in gt['nframes'].items()}
    return Annotation('toy', gt['labels'], videos, {'test': gt['videos']}, tubes)
