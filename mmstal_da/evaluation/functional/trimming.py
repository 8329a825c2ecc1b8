"""Temporal trimming of tubes: a two-state Viterbi pass over their frame scores.

Saha et al., "Deep Learning for Detecting Multiple Space-Time Action Tubes in Videos", BMVC 2016,
Section 3.3: every frame of a tube is labelled action or background. The labels maximise
``sum_f s(label_f) - penalty * [label changes]`` with ``s(action) = score`` and
``s(background) = 1 - score``. The runs labelled action are the trimmed tubes.
"""

import numpy as np

from .detections import Detections
from .linking import keep_tubes
from .protocol import Protocol
from .segments import expand_ranges
from .tubes import TubeSet


def viterbi_labels(scores: np.ndarray, offsets: np.ndarray, penalty: float) -> np.ndarray:
    """Best action/background labelling of every sequence.

    Args:
        scores: (R,) frame scores in [0, 1], sequence after sequence.
        offsets: (T + 1,) sequence t is rows ``offsets[t]:offsets[t + 1]``, none empty.
        penalty: Cost of a label change, at least 0.

    Returns:
        (R,) bool, True where the frame is labelled action. Ties go to action.
    """
    length = np.diff(offsets)
    # longest first: the sequences still running at a step are a prefix
    by_length = np.argsort(-length, kind='stable')
    start, length = offsets[:-1][by_length], length[by_length]
    scores = scores.astype(np.float64)
    from_action = np.zeros((2, len(scores)), bool)  # best predecessor of each state is action
    energy = np.stack((1 - scores, scores))  # background, action: best total ending here
    steps = int(length[0]) if len(length) else 0
    running = np.searchsorted(-length, -np.arange(steps), side='left')
    for step in range(1, steps):
        rows = start[: running[step]] + step
        background, action = energy[0, rows - 1], energy[1, rows - 1]
        from_action[0, rows] = action - penalty >= background
        from_action[1, rows] = action >= background - penalty
        energy[0, rows] += np.maximum(background, action - penalty)
        energy[1, rows] += np.maximum(action, background - penalty)
    labels = np.zeros(len(scores), bool)
    end = start + length - 1
    labels[end] = energy[1, end] >= energy[0, end]
    for step in range(steps - 1, 0, -1):
        rows = start[: running[step]] + step
        labels[rows - 1] = from_action[labels[rows].astype(np.int64), rows]
    return labels


def trim_tubes(tubes: TubeSet, protocol: Protocol) -> TubeSet:
    """Cut tubes to their runs of action frames.

    Args:
        tubes: Gap-free tubes.
        protocol: ``trim_penalty``, ``min_score`` and ``min_length`` are used; runs below either
            are dropped.

    Returns:
        The runs as separate tubes, each scored by the mean of its frame scores; without a
        ``trim_penalty`` the tubes as they are.
    """
    if protocol.trim_penalty is None:
        return tubes
    length = tubes.end - tubes.begin + 1
    rows = expand_ranges(tubes.offset, length)
    number = np.repeat(np.arange(len(tubes)), length)
    scores = tubes.box_scores[rows]
    offsets = np.concatenate(([0], np.cumsum(length)))
    action = viterbi_labels(scores, offsets, protocol.trim_penalty)
    frame = rows - (tubes.offset - tubes.begin)[number]
    kept = np.flatnonzero(action)
    gap = np.diff(kept) != 1
    new_run = np.concatenate(([True], gap | (np.diff(number[kept]) != 0)))[: kept.size]
    run_offsets = np.append(np.flatnonzero(new_run), kept.size)
    dets = Detections(tubes.video[number], frame, tubes.label[number], scores, tubes.boxes[rows])
    return keep_tubes(dets, kept, run_offsets, protocol)
