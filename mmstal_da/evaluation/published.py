"""What stands beside a published number: the detections, rounded, and what they give."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .compact import BOX_STEPS, encode_compact, pack, unpack
from .files import DetectionFile
from .functional import get_protocol
from .runs import ScoredRun, score_run


class Published(NamedTuple):
    """Detections to publish.

    Attributes:
        content: Of an ``.npz`` that :func:`~.files.load_detections` reads.
        facts: For the JSON beside it: ``sha256`` of the content, ``score_thr``, ``box_step`` in
            pixels, how many detections were ``kept`` and ``of`` how many, and the ``metrics`` that
            those give.
    """

    content: bytes
    facts: dict[str, Any]


def publish_detections(
    file: DetectionFile,
    run: ScoredRun,
    ann_file: str | os.PathLike[str],
    protocol: str = 'act',
    constants: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Published:
    """Round the detections of a run, and score them again.

    Args:
        file: The detections.
        run: The same, scored.
        ann_file: Annotation file that they were scored on.
        protocol: Name of the protocol.
        constants: Its constants that were changed.
        origin: What else the file is to say about the run.

    Raises:
        ValueError: See :func:`~.compact.encode_compact`.
    """
    constants = dict(constants or {})
    numbers = means_of(run.result)
    digest = hashlib.sha256(Path(ann_file).read_bytes()).hexdigest()
    meta = {
        **file.meta,
        **(origin or {}),
        'protocol': protocol,
        'constants': constants,
        'annotation': {'file': Path(ann_file).name, 'sha256': digest},
        'published': numbers,
    }
    videos, labels = file.videos or run.truth.videos, file.labels or run.truth.labels
    content, score_thr = encode_compact(file.dets, videos, labels, meta)
    rounded = replace(file, dets=unpack(pack(file.dets, score_thr)))
    again = score_run(rounded, ann_file, get_protocol(protocol, **constants))
    facts = {
        'sha256': hashlib.sha256(content).hexdigest(),
        'score_thr': score_thr,
        'box_step': 1 / BOX_STEPS,
        'kept': len(rounded.dets),
        'of': len(file.dets),
        'metrics': means_of(again.result),
    }
    return Published(content, facts)


def means_of(result: Mapping[str, Any]) -> dict[str, float | None]:
    """The frame-mAP and video-mAPs of a result, in percent."""
    return {key: value for key, value in result.items() if '_mAP@' in key}
