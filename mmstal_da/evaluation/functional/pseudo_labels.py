"""Labels of unlabelled videos from a detector's own tubes.

Whole tubes are chosen, not boxes: what is linked through a video, keeps one class and follows its
actor steadily is more often right than a box with as high a score. What is chosen is learnt as an
action. What is plausible but not chosen is ignored: neither an action nor background.
"""

from dataclasses import asdict, dataclass

import numpy as np

from mmstal_da.utils.values import SHARE, check_values, number, optional, whole

from .detections import Detections
from .evaluate import tubes_of
from .ground_truth import GroundTruth
from .iou import paired_iou
from .label_free import row_steadiness
from .protocol import get_protocol
from .segments import expand_products, expand_ranges, find_keys, group_starts, stable_argsort
from .trimming import trim_tubes
from .tubes import TubeSet
from .video_ap import rank_tubes, suppress_tubes


@dataclass(frozen=True)
class PseudoTubeRule:
    """What a tube must be to become a label **[derived]**.

    Attributes:
        box_score: Least score of a box that is linked.
        tube_score: Least mean score of a tube that is learnt.
        min_length: Its least number of frames.
        min_steadiness: Its least steadiness in [0, 1], see
            :func:`~.label_free.row_steadiness`: how well the boxes of clips around neighbouring
            frames agree.
        trim_penalty: Its ends of low score are cut, see :mod:`~.trimming`; None cuts nothing.
        plausible_length: Least number of frames of a tube that is ignored if it is not learnt.
        link_iou: See :class:`~.protocol.Protocol`. With 1 and lengths of 1 labels are single boxes:
            but for equal boxes, every box is a tube of its own.
        max_gap: See :class:`~.protocol.Protocol`; gaps are filled between their neighbours.
        same_actor: Boxes of a frame whose IoU is at least this are one actor, who does one thing:
            the class of the better tube.
    """

    box_score: float = 0.3
    tube_score: float = 0.7
    min_length: int = 15
    min_steadiness: float = 0.0
    trim_penalty: float | None = 1.0
    plausible_length: int = 5
    link_iou: float = 0.5
    max_gap: int = 3
    same_actor: float = 0.5

    def __post_init__(self) -> None:
        check_values(
            dict(
                box_score=SHARE,
                tube_score=SHARE,
                min_length=whole(),
                min_steadiness=SHARE,
                trim_penalty=optional(number(0)),
                plausible_length=whole(),
                link_iou=SHARE,
                max_gap=whole(),
                same_actor=number(above=0, most=1),
            ),
            asdict(self),
        )


def pseudo_tubes(dets: Detections, rule: PseudoTubeRule) -> tuple[TubeSet, TubeSet]:
    """Tubes to learn and tubes to ignore.

    Args:
        dets: Raw detections of every frame, in any order.
        rule: What is chosen.

    Returns:
        Tubes to learn, the best first, then what is ignored. On no frame do two of the first kind
        mark one actor. No box that is ignored marks an actor that is learnt on the same frame.
    """
    confident = dets.take(np.flatnonzero(dets.score >= np.float32(rule.box_score)))
    protocol = get_protocol(
        'act',
        link_iou=rule.link_iou,
        max_gap=rule.max_gap,
        min_score=rule.box_score,
        min_length=min(rule.plausible_length, rule.min_length),
    )
    linked = suppress_tubes(rank_tubes(tubes_of(confident, protocol)), protocol)
    length = linked.end - linked.begin + 1
    chosen = (linked.score >= np.float32(rule.tube_score)) & (length >= rule.min_length)
    chosen &= mean_steadiness(linked, protocol.pixel) >= rule.min_steadiness
    strict = get_protocol(
        'act',
        min_score=rule.tube_score,
        min_length=rule.min_length,
        trim_penalty=rule.trim_penalty,
    )
    best = trim_tubes(linked.take(np.flatnonzero(chosen)), strict)
    best = best.take(np.argsort(-best.score, kind='stable'))
    learnt = _cut(best, _by_actor(best, rule))
    plausible = linked.take(np.flatnonzero(length >= rule.plausible_length))
    left = [
        run
        for tube in range(len(plausible))
        for run in _runs(tube, ~_covered(plausible, tube, learnt, rule.same_actor))
    ]
    return learnt, _cut(plausible, left)


def mean_steadiness(tubes: TubeSet, pixel: float) -> np.ndarray:
    """(T,) mean of :func:`~.label_free.row_steadiness` over every tube's frames."""
    length = tubes.end - tubes.begin + 1
    owner = np.repeat(np.arange(len(tubes)), length)
    return np.bincount(owner, row_steadiness(tubes, pixel), len(tubes)) / np.maximum(length, 1)


Run = tuple[int, int, int]  # number of a tube, and a part of its rows: begin, end


def _by_actor(tubes: TubeSet, rule: PseudoTubeRule) -> list[Run]:
    """Parts of tubes, the best first, without the frames on which a better one has the actor."""
    kept: list[Run] = []
    for tube in range(len(tubes)):
        free = ~_covered(tubes, tube, _cut(tubes, kept), rule.same_actor)
        kept += [run for run in _runs(tube, free) if run[2] - run[1] >= rule.min_length]
    return kept


def _covered(tubes: TubeSet, tube: int, others: TubeSet, iou: float) -> np.ndarray:
    """(n,) bool by row of a tube: whether one of the others marks the same actor there."""
    begin, end = tubes.begin[tube], tubes.end[tube]
    covered = np.zeros(end - begin + 1, bool)
    same = (others.video == tubes.video[tube]) & (others.begin <= end) & (others.end >= begin)
    for other in np.flatnonzero(same):
        first, last = max(begin, others.begin[other]), min(end, others.end[other])
        here = slice(first - begin, last - begin + 1)
        a, b = tubes.offset[tube], others.offset[other] - others.begin[other] + first
        overlap = paired_iou(
            tubes.boxes[a + here.start : a + here.stop],
            others.boxes[b : b + last - first + 1],
            1.0,
        )
        covered[here] |= overlap >= np.float32(iou)
    return covered


def _runs(tube: int, rows: np.ndarray) -> list[Run]:
    """The runs of true rows of a tube."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], rows.astype(np.int8), [0]))))
    return [(tube, begin, end) for begin, end in edges.reshape(-1, 2).tolist()]


def _cut(tubes: TubeSet, runs: list[Run]) -> TubeSet:
    """Parts of tubes as tubes; each is scored by the mean of its boxes."""
    source, begin, end = np.array(runs, np.int64).reshape(-1, 3).T
    cut = tubes.take(source)
    cut.offset = cut.offset + begin
    cut.end = cut.begin + end - 1
    cut.begin = cut.begin + begin
    rows = expand_ranges(cut.offset, end - begin)
    owner = np.repeat(np.arange(len(cut)), end - begin)
    total = np.bincount(owner, cut.box_scores[rows], len(cut))
    cut.score = (total / np.maximum(end - begin, 1)).astype(np.float32)
    return cut


def label_quality(learnt: TubeSet, ignored: TubeSet, gt: GroundTruth) -> dict[str, float]:
    """How right pseudo-labels are: a diagnosis for videos whose labels are known after all.

    Args:
        learnt: Of :func:`pseudo_tubes`; videos and classes are numbered as in ``gt``.
        ignored: Likewise.
        gt: The true labels.

    Returns:
        ``boxes``, to learn. Of them, in percent, each box on its own: ``precision`` (IoU 0.5 with a
        true box of its class), ``wrong_class`` (with one of another class only) and ``idle`` (on
        frames without any action). ``recall`` of the true boxes, and ``recall_with_ignored``.
        ``background``: frames without any pseudo-label; ``missed``: those of them, in percent,
        that have a true box.
    """
    truth = _frames_of(*gt.rows(), gt)
    found, other = (_frames_of(*_rows(tubes), gt) for tubes in (learnt, ignored))
    right, near, hit = _matches(found, truth)
    hit_by_ignored = _matches(other, truth, any_class=True)[2]
    active = np.zeros(int(gt.num_frames.sum()), bool)
    active[truth[0]] = True
    quiet = np.ones(len(active), bool)
    quiet[found[0]] = quiet[other[0]] = False

    def percent(rows: np.ndarray) -> float:
        return 100.0 * float(rows.mean()) if len(rows) else float('nan')

    return dict(
        boxes=len(found[0]),
        precision=percent(right),
        wrong_class=percent(near & ~right),
        idle=percent(~active[found[0]]),
        recall=percent(hit),
        recall_with_ignored=percent(hit | hit_by_ignored),
        ignored_boxes=len(other[0]),
        background=int(quiet.sum()),
        missed=percent(active[quiet]),
    )


Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]  # (n,) number of the frame, label; (n, 4) box


def _rows(tubes: TubeSet) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Video, label, frame and box of every box."""
    length = tubes.end - tubes.begin + 1
    rows = expand_ranges(tubes.offset, length)
    frame = expand_ranges(tubes.begin, length)
    return np.repeat(tubes.video, length), np.repeat(tubes.label, length), frame, tubes.boxes[rows]


def _frames_of(
    video: np.ndarray, label: np.ndarray, frame: np.ndarray, boxes: np.ndarray, gt: GroundTruth
) -> Boxes:
    """The boxes sorted by frame."""
    place = gt.frame_number(video, frame)
    order = stable_argsort(place)
    return place[order], label[order], boxes[order]


def _matches(
    found: Boxes, truth: Boxes, any_class: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Found boxes with a true one at IoU 0.5, of their class and of any; true ones that are hit."""
    starts, gt_starts = group_starts(found[0]), group_starts(truth[0])
    g, d = find_keys(found[0][starts[:-1]], truth[0][gt_starts[:-1]])
    a, b = expand_products(starts[d], np.diff(starts)[d], gt_starts[g], np.diff(gt_starts)[g])
    near = paired_iou(found[2][a], truth[2][b], 1.0) >= np.float32(0.5)
    a, b = a[near], b[near]
    same = found[1][a] == truth[1][b]
    right, close, hit = (np.zeros(len(side[0]), bool) for side in (found, found, truth))
    right[a[same]] = True
    close[a] = True
    hit[b if any_class else b[same]] = True
    return right, close, hit
