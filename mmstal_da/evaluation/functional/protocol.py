"""The evaluation protocols: every constant of the evaluator, by name."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mmstal_da.utils.values import SHARE, check_values, number, optional, several, whole

VALUE_RULES = dict(
    pixel=number(0),
    nms_iou=SHARE,
    frame_iou=SHARE,
    keep_per_frame=whole(),
    link_iou=SHARE,
    max_gap=whole(),
    min_score=SHARE,
    min_length=whole(),
    trim_penalty=optional(number(0)),
    tube_nms_iou=SHARE,
    video_ious=several(number(above=0, most=1)),
    video_iou_range=several(number(above=0, most=1), 3),
)


@dataclass(frozen=True)
class Protocol:
    """Constants of one evaluation protocol; :func:`get_protocol` makes the named ones.

    Attributes:
        name: The label of the results.
        pixel: Added to every box width and height: 1 for inclusive pixel coordinates
            (``width = x2 - x1 + 1``), 0 for continuous ones.
        nms: ``'soft'``: a box overlapped by a better one keeps ``score * (1 - IoU)``;
            ``'hard'``: it is removed; ``'none'``: nothing happens.
        nms_iou: Boxes of a frame and class whose IoU to a better box is above this are
            suppressed.
        ap: ``'trapezoid'``: area under the precision-recall points from (p=1, r=0);
            ``'envelope'``: all-point interpolated area (PASCAL VOC 2010 onwards).
        frame_iou: Smallest IoU of a true-positive frame detection.
        match: ``'free'``: a frame detection takes, of the ground truth that no better one has
            taken, what it overlaps most; ``'best'``: what it overlaps most of all, and it is a
            false positive if that is taken.
        keep_per_frame: Boxes of a frame and class that linking considers.
        link_iou: Smallest IoU between a tube's last box and the box that extends it.
        max_gap: A tube that finds no box ends once the current frame is this many frames or
            more past its last box; 1 allows no missing frame.
        min_score: Tubes with a lower mean box score are dropped.
        min_length: Tubes spanning fewer frames are dropped.
        trim_penalty: Cost of a label change in the Viterbi pass that trims tubes in time;
            None switches trimming off.
        tube_nms_iou: Tubes of a video and class whose IoU to a better tube is above this are
            removed.
        ties: Order of equal scores: ``'numpy'`` as in the public evaluator (depends on the CPU),
            ``'stable'`` earlier row first; see :mod:`~.ranking`.
        video_ious: Tube IoU thresholds at which video-mAP is reported separately.
        video_iou_range: (first, last, step) of the thresholds averaged as ``0.5:0.95``.
    """

    name: str = 'act'
    pixel: float = 1.0
    nms: str = 'soft'
    nms_iou: float = 0.6
    ap: str = 'trapezoid'
    frame_iou: float = 0.5
    match: str = 'free'
    keep_per_frame: int = 10
    link_iou: float = 0.5
    max_gap: int = 1
    min_score: float = 0.005
    min_length: int = 15
    trim_penalty: float | None = None
    tube_nms_iou: float = 0.3
    ties: str = 'numpy'
    video_ious: tuple[float, ...] = (0.2, 0.5, 0.75)
    video_iou_range: tuple[float, float, float] = (0.5, 0.95, 0.05)

    def __post_init__(self) -> None:
        if self.nms not in ('soft', 'hard', 'none'):
            raise ValueError(f"nms is 'soft', 'hard' or 'none', not {self.nms!r}")
        if self.match not in ('free', 'best'):
            raise ValueError(f"match is 'free' or 'best', not {self.match!r}")
        if self.ap not in ('trapezoid', 'envelope'):
            raise ValueError(f"ap is 'trapezoid' or 'envelope', not {self.ap!r}")
        if self.ties not in ('numpy', 'stable'):
            raise ValueError(f"ties is 'numpy' or 'stable', not {self.ties!r}")
        check_values(VALUE_RULES, asdict(self))
        first, last, _ = self.video_iou_range
        if first > last:
            raise ValueError(f'video_iou_range is (first, last, step), not {self.video_iou_range}')

    @property
    def video_iou_steps(self) -> list[float]:
        """The thresholds of the ``0.5:0.95`` mean, both ends included."""
        first, last, step = self.video_iou_range
        return [round(first + i * step, 6) for i in range(round((last - first) / step) + 1)]

    def as_dict(self) -> dict[str, Any]:
        """All constants, ready for JSON."""
        return asdict(self)


PROTOCOLS = {
    # ACT (Kalogeiton et al., ICCV 2017) and MOC (Li et al., ECCV 2020)
    'act': Protocol(),
    # continuous boxes, all-point AP, hard NMS; everything else as 'act' [derived]
    'voc': Protocol(name='voc', pixel=0.0, nms='hard', ap='envelope', ties='stable'),
    # frame-mAP of AVA (Gu et al., CVPR 2018), as MMAction2's AVAMetric computes it on annotated
    # frames (background_frames=False); AVA has no video-mAP
    'ava': Protocol(name='ava', nms='none', ap='envelope', match='best', ties='stable'),
}


def get_protocol(name: str = 'act', **overrides: Any) -> Protocol:
    """A named protocol with some of its constants replaced.

    Args:
        name: ``'act'``, ``'voc'`` or ``'ava'``.
        overrides: Constants by the names of :class:`Protocol`. A result made with overrides
            is labelled with them: ``act(max_gap=3)``.

    Raises:
        ValueError: Unknown protocol or constant, or a value out of range.
    """
    if name not in PROTOCOLS:
        raise ValueError(f'unknown protocol {name!r}: choose from {sorted(PROTOCOLS)}')
    base = PROTOCOLS[name]
    known = {field.name for field in fields(Protocol)} - {'name'}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ValueError(f'unknown protocol constant {unknown}: choose from {sorted(known)}')
    for key in ('video_ious', 'video_iou_range'):
        if key in overrides:
            overrides[key] = tuple(overrides[key])
    changed = {key: value for key, value in overrides.items() if value != getattr(base, key)}
    if not changed:
        return base
    label = ', '.join(f'{key}={value}' for key, value in sorted(changed.items()))
    return replace(base, name=f'{name}({label})', **changed)
