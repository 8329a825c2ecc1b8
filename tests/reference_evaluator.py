"""The evaluator once more, one detection at a time.

Slow, and written from the definitions alone: it shares nothing with
:mod:`mmstal_da.evaluation.functional` but the constants and how equal scores are ordered. The tests
hold the fast evaluator against it, and the benchmark times both.
"""

import numpy as np

from mmstal_da.evaluation.functional.protocol import Protocol

Tube = tuple[np.float32, dict[int, np.ndarray]]  # score, {frame: box}


def iou(a: np.ndarray, b: np.ndarray, pixel: float) -> np.float32:
    """IoU of two boxes, in float32."""
    one = np.float32(pixel)
    width = min(a[2], b[2]) - max(a[0], b[0]) + one
    height = min(a[3], b[3]) - max(a[1], b[1]) + one
    inter = max(width, np.float32(0)) * max(height, np.float32(0))
    area_a = (a[2] - a[0] + one) * (a[3] - a[1] + one)
    area_b = (b[2] - b[0] + one) * (b[3] - b[1] + one)
    union = area_a + area_b - inter
    return inter / union if union > 0 else np.float32(0)


def tube_iou(a: dict[int, np.ndarray], b: dict[int, np.ndarray], pixel: float) -> np.float32:
    """Mean box IoU over the common frames times the temporal IoU of the spans."""
    common = sorted(set(a) & set(b))
    if not common:
        return np.float32(0)
    inter = min(max(a), max(b)) - max(min(a), min(b)) + 1
    union = max(max(a), max(b)) - min(min(a), min(b)) + 1
    spatial = np.float32(sum(float(iou(a[f], b[f], pixel)) for f in common) / len(common))
    return np.float32(inter) / np.float32(union) * spatial


def order_in_frame(scores: np.ndarray, ties: str) -> list[int]:
    """Best first; equal scores as the protocol has them."""
    if ties == 'stable':
        return np.argsort(-scores, kind='stable').tolist()
    return np.argsort(scores)[::-1].tolist()


def order_in_class(scores: list, ties: str) -> list[int]:
    """The same for the ranking of a class."""
    scores = np.array(scores, np.float32)
    return np.argsort(-scores, kind='stable' if ties == 'stable' else None).tolist()


def suppress(boxes: np.ndarray, scores: np.ndarray, protocol: Protocol) -> tuple[list, list]:
    """NMS of one frame and class: the boxes and scores that remain, in input order."""
    scores = scores.copy()
    removed = set()
    queue = order_in_frame(scores, protocol.ties)
    while queue:
        best = queue.pop(0)
        for other in list(queue):
            overlap = iou(boxes[best], boxes[other], protocol.pixel)
            if overlap > np.float32(protocol.nms_iou):
                queue.remove(other)
                scores[other] *= np.float32(1) - overlap
                removed.add(other)
    keep = range(len(boxes))
    if protocol.nms == 'hard':
        keep = [i for i in keep if i not in removed]
    return [boxes[i] for i in keep], [scores[i] for i in keep]


def link(frames: dict[int, tuple[list, list]], num_frames: int, protocol: Protocol) -> list[Tube]:
    """Online linking in one video and class.

    Args:
        frames: {frame: boxes and scores after suppression}.
        num_frames: Frames of the video.
        protocol: The constants of linking.
    """
    current: list[list] = []  # a tube is a list of (frame, rank in the frame, box, score)
    finished: list[list] = []
    for frame in range(1, num_frames + 1):
        boxes, scores = frames.get(frame, ([], []))
        best = order_in_frame(np.array(scores, np.float32), protocol.ties)
        free = [(frame, rank, boxes[i], scores[i]) for rank, i in enumerate(best)]
        free = free[: protocol.keep_per_frame]
        still = []
        for tube in sorted(current, key=lambda t: (-mean_score(t), t[-1][0], t[-1][1])):
            last_frame, _, last_box, _ = tube[-1]
            for candidate in free:
                overlap = iou(last_box, candidate[2], protocol.pixel)
                if overlap >= np.float32(protocol.link_iou):
                    tube.append(candidate)
                    free.remove(candidate)
                    still.append(tube)
                    break
            else:
                ended = frame - last_frame >= protocol.max_gap
                (finished if ended else still).append(tube)
        current = still + [[item] for item in free]
    tubes = sorted(finished + current, key=lambda t: (t[0][0], t[0][1]))
    kept = keep_tubes([(mean_score(tube), fill(tube)) for tube in tubes], protocol)
    if protocol.trim_penalty is not None:
        runs = [run for _, rows in kept for run in trim(rows, protocol.trim_penalty)]
        means = [np.mean([float(score) for _, score in run.values()]) for run in runs]
        kept = keep_tubes(list(zip(map(np.float32, means), runs, strict=True)), protocol)
    return [(mean, {f: box for f, (box, _) in rows.items()}) for mean, rows in kept]


def mean_score(tube: list) -> np.float32:
    """Mean score of the boxes of a tube."""
    return np.float32(sum(float(item[3]) for item in tube) / len(tube))


def fill(tube: list) -> dict[int, tuple[np.ndarray, np.float32]]:
    """{frame: box and score} of a tube, missing frames between their neighbours, linearly."""
    rows = {tube[0][0]: tube[0][2:]}
    for (f0, _, box0, score0), (f1, _, box1, score1) in zip(tube[:-1], tube[1:], strict=True):
        for frame in range(f0 + 1, f1):
            t = np.float32((frame - f0) / (f1 - f0))
            rows[frame] = (box0 * (1 - t) + box1 * t, score0 * (1 - t) + score1 * t)
        rows[f1] = (box1, score1)
    return rows


def keep_tubes(tubes: list, protocol: Protocol) -> list:
    """The (mean score, rows) that are strong and long enough."""
    return [
        (mean, rows)
        for mean, rows in tubes
        if mean >= np.float32(protocol.min_score)
        and max(rows) - min(rows) + 1 >= protocol.min_length
    ]


def trim(rows: dict, penalty: float) -> list[dict]:
    """Runs of action frames under the best of all labellings, found by dynamic programming."""
    frames = sorted(rows)
    best = {True: (0.0, []), False: (0.0, [])}  # total and labels of the best path ending so
    for number, frame in enumerate(frames):
        score = float(rows[frame][1])
        step = {}
        for action in (True, False):
            gain = score if action else 1 - score
            ways = [
                (best[before][0] - penalty * (number > 0 and before != action), before)
                for before in (True, False)
            ]
            total, before = max(ways)  # of equal totals the one through action
            step[action] = (total + gain, [*best[before][1], action])
        best = step
    labels = max((best[a][0], a) for a in (True, False))[1]
    runs: list[dict] = []
    previous = False
    for frame, action in zip(frames, best[labels][1], strict=True):
        if action:
            if not previous:
                runs.append({})
            runs[-1][frame] = rows[frame]
        previous = action
    return runs


def suppress_tubes(tubes: list[Tube], protocol: Protocol) -> list[Tube]:
    """Hard NMS of the tubes of one video and class, best first."""
    kept: list[Tube] = []
    for tube in sorted(tubes, key=lambda t: -t[0]):
        if all(
            tube_iou(tube[1], other[1], protocol.pixel) <= np.float32(protocol.tube_nms_iou)
            for other in kept
        ):
            kept.append(tube)
    return kept


def average_precision(ranked: list, truth: dict, threshold: float, overlap, method: str) -> float:
    """AP of one class in percent.

    Args:
        ranked: (key, thing) by descending score; the key says which ground truth it may take.
        truth: {key: ground-truth things}.
        threshold: Smallest overlap of a true positive.
        overlap: Function of two things.
        method: ``'trapezoid'`` or ``'envelope'``.
    """
    truth = {key: list(things) for key, things in truth.items()}
    total = sum(len(things) for things in truth.values())
    points = [(1.0, 0.0)]
    true = 0
    for number, (key, thing) in enumerate(ranked, 1):
        rest = truth.get(key, [])
        overlaps = [overlap(other, thing) for other in rest]
        if overlaps and max(overlaps) >= np.float32(threshold):
            rest.pop(overlaps.index(max(overlaps)))
            true += 1
        points.append((true / number, true / total))
    area = 0.0
    for i in range(1, len(points)):
        (p0, r0), (p1, r1) = points[i - 1], points[i]
        if method == 'trapezoid':
            area += (r1 - r0) * (p1 + p0) / 2
        elif r1 > r0:
            area += (r1 - r0) * max(p for p, _ in points[i:])
    return 100 * area


def evaluate(
    dets: np.ndarray, gt: dict, protocol: Protocol, background_frames: bool = True
) -> dict:
    """Frame-mAP, video-mAP and per-class AP.

    Args:
        dets: (M, 8) video index in ``gt['videos']``, frame, label, score, x1, y1, x2, y2.
        gt: ``labels``, ``videos``, ``nframes`` and ``gttubes`` in ACT's format.
        protocol: The constants.
        background_frames: Whether frames without ground truth count.

    Returns:
        ``frame_mAP@0.5``, ``frame_AP@0.5``, ``video_mAP@<iou>``, ``video_mAP@0.5:0.95``,
        ``video_AP@0.5`` and ``n_tubes`` as :func:`~.functional.evaluate_detections` has them.
    """
    groups = group_detections(dets, gt, background_frames)
    frame_ap, num_tubes = [], 0
    thresholds = sorted({*protocol.video_ious, *protocol.video_iou_steps, 0.5})
    video_ap = {threshold: [] for threshold in thresholds}
    for label in range(len(gt['labels'])):
        truth: dict = {}
        tube_truth: dict = {}
        for v, name in enumerate(gt['videos']):
            for tube in gt['gttubes'].get(name, {}).get(label, []):
                rows = {int(row[0]): np.float32(row[1:]) for row in tube}
                tube_truth.setdefault(v, []).append(rows)
                for frame, box in rows.items():
                    truth.setdefault((v, frame), []).append(box)
        kept, tubes = [], []
        for v, name in enumerate(gt['videos']):
            frames = sorted(groups.get((label, v), {}).items())
            after = {frame: suppress(*found, protocol) for frame, found in frames}
            for frame, (boxes, scores) in after.items():
                kept += [(score, (v, frame), box) for box, score in zip(boxes, scores, strict=True)]
            linked = link(after, int(gt['nframes'][name]), protocol)
            num_tubes += len(linked)
            tubes += [(score, v, rows) for score, rows in suppress_tubes(linked, protocol)]
        if not truth:
            frame_ap.append(None)
            for column in video_ap.values():
                column.append(None)
            continue
        order = order_in_class([item[0] for item in kept], protocol.ties)
        ranked = [kept[i][1:] for i in order]
        frame_ap.append(
            average_precision(
                ranked,
                truth,
                protocol.frame_iou,
                lambda a, b: iou(a, b, protocol.pixel),
                protocol.ap,
            )
        )
        order = order_in_class([item[0] for item in tubes], protocol.ties)
        ranked = [tubes[i][1:] for i in order]
        for threshold in thresholds:
            video_ap[threshold].append(
                average_precision(
                    ranked,
                    tube_truth,
                    threshold,
                    lambda a, b: tube_iou(a, b, protocol.pixel),
                    protocol.ap,
                )
            )

    def mean(column: list) -> float | None:
        values = [value for value in column if value is not None]
        return sum(values) / len(values) if values else None

    result = {'frame_mAP@0.5': mean(frame_ap), 'frame_AP@0.5': frame_ap}
    for threshold in protocol.video_ious:
        result[f'video_mAP@{threshold:g}'] = mean(video_ap[threshold])
    result['video_mAP@0.5:0.95'] = mean([mean(video_ap[t]) for t in protocol.video_iou_steps])
    result['video_AP@0.5'] = video_ap[0.5]
    result['n_tubes'] = num_tubes
    return result


def group_detections(dets: np.ndarray, gt: dict, background_frames: bool = True) -> dict:
    """{(label, video): {frame: boxes and scores}} of the frames that count."""
    annotated = {
        (v, int(row[0]))
        for v, name in enumerate(gt['videos'])
        for tubes in gt['gttubes'].get(name, {}).values()
        for tube in tubes
        for row in tube
    }
    groups: dict = {}
    for row in np.asarray(dets, np.float32):
        video, frame, label = (int(value) for value in row[:3])
        if background_frames or (video, frame) in annotated:
            frames = groups.setdefault((label, video), {})
            boxes, scores = frames.setdefault(frame, ([], []))
            boxes.append(row[4:])
            scores.append(row[3])
    return {
        key: {f: (np.array(boxes), np.array(scores)) for f, (boxes, scores) in frames.items()}
        for key, frames in groups.items()
    }
