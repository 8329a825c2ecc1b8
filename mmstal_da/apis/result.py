"""What a detector found in one video, and its files."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmstal_da.evaluation.files import save_detections
from mmstal_da.evaluation.functional import Detections, TubeSet
from mmstal_da.tubes.annotation import Annotation, Tube, Video, save_annotation
from mmstal_da.tubes.converters.act import save_act
from mmstal_da.tubes.converters.coco_video import save_coco_video
from mmstal_da.tubes.converters.cvat import to_cvat
from mmstal_da.utils.io import atomic_write

FORMAT, VERSION = 'mmstal_da.detections', 1


@dataclass
class VideoResult:
    """Detections and linked tubes of one video.

    Attributes:
        name: Of the video.
        num_frames: How many frames it has.
        height: Of its frames, in pixels.
        width: The same.
        fps: Frames per second.
        classes: Names that labels refer to.
        dets: Detections on the key frames; ``video`` is 0. Frames count from 1, boxes are
            ``x1 y1 x2 y2`` in pixels of the video, ends inclusive.
        tubes: Linked tubes after tube NMS, a box on every frame from first to last.
        key_frame_stride: Every so many-th frame was looked at; tubes are interpolated between.
        score_thr: Tubes and boxes with a lower score are not shown.
    """

    name: str
    num_frames: int
    height: int
    width: int
    fps: float
    classes: list[str]
    dets: Detections
    tubes: TubeSet
    key_frame_stride: int = 1
    score_thr: float = 0.3

    def shown_tubes(self) -> TubeSet:
        """Tubes of at least ``score_thr``, best first."""
        order = np.argsort(-self.tubes.score, kind='stable')
        return self.tubes.take(order[self.tubes.score[order] >= self.score_thr])

    def nothing_shown(self) -> str:
        """A sentence for a result without a shown tube; empty if there is one."""
        if len(self.shown_tubes()):
            return ''
        if not len(self.tubes):
            return 'no tube was found'
        best = float(self.tubes.score.max())
        return f'no tube of score {self.score_thr:g} or more (the best has {best:.2f})'

    def to_json(self) -> dict:
        """The documented content of ``result.json``.

        ``frames`` has the boxes of at least ``score_thr`` on the key frames, ``tubes`` the tubes
        of at least ``score_thr``::

            {"format": "mmstal_da.detections", "version": 1, "video": "walk/a",
             "num_frames": 40, "height": 240, "width": 320, "fps": 25.0,
             "classes": ["run", "walk"], "score_thr": 0.3, "key_frame_stride": 1,
             "frames": [{"frame": 1, "boxes": [[x1, y1, x2, y2]], "scores": [0.9],
                         "labels": ["walk"]}],
             "tubes": [{"label": "walk", "score": 0.8, "frames": [1, 2],
                        "boxes": [[x1, y1, x2, y2], [x1, y1, x2, y2]]}]}
        """
        order = np.argsort(self.dets.frame, kind='stable')
        numbers, first = np.unique(self.dets.frame[order], return_index=True)
        frames = [
            frame_json(frame, self.dets.take(rows), self.classes, self.score_thr)
            for frame, rows in zip(numbers.tolist(), np.split(order, first[1:]), strict=True)
        ]
        frames = [frame for frame in frames if frame['boxes']]
        tubes = self.shown_tubes()
        return dict(
            format=FORMAT,
            version=VERSION,
            video=self.name,
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            fps=self.fps,
            classes=self.classes,
            score_thr=self.score_thr,
            key_frame_stride=self.key_frame_stride,
            frames=frames,
            tubes=[
                dict(
                    label=tube.label,
                    score=round(float(score), 4),
                    frames=tube.frames.tolist(),
                    boxes=_rounded(tube.boxes),
                )
                for tube, score in zip(self.as_tubes(), tubes.score, strict=True)
            ],
        )

    def as_tubes(self) -> list[Tube]:
        """The shown tubes as annotation."""
        tubes, found = self.shown_tubes(), []
        for i in range(len(tubes)):
            begin, end = int(tubes.begin[i]), int(tubes.end[i])
            rows = slice(int(tubes.offset[i]), int(tubes.offset[i]) + end - begin + 1)
            limit = np.array([self.width - 1, self.height - 1] * 2, np.float32)
            boxes = np.clip(tubes.boxes[rows], 0, limit)
            found.append(Tube(self.classes[int(tubes.label[i])], np.arange(begin, end + 1), boxes))
        return found

    def to_annotation(self, path: str) -> Annotation:
        """The shown tubes as an annotation file of this project, to be corrected or trained on.

        Args:
            path: Of the video, relative to the ``data_prefix`` it will be read with.
        """
        video = Video(path, self.num_frames, self.width, self.height, fps=self.fps)
        return Annotation(
            'predicted', self.classes, {self.name: video}, {'all': [self.name]},
            {self.name: self.as_tubes()},
        )  # fmt: skip

    def save(self, folder: str | os.PathLike[str], video_path: str) -> None:
        """Write the files below; a folder with ``result.json`` has them all.

        =================  =========================================================
        ``dets.npz``       every detection, whatever its score, as
                           ``eval_detections.py`` and ``render_videos.py`` read it
        ``tubes.json``     the shown tubes in this project's annotation format
        ``tubes_act.pkl``  the same in ACT's format
        ``cvat.xml``       the same for CVAT, where a person can correct them
        ``coco.json``      the same as COCO-style JSON of videos
        ``result.json``    see :meth:`to_json`; written last
        =================  =========================================================
        """
        folder = Path(folder)
        meta = dict(key_frame_stride=self.key_frame_stride)
        save_detections(folder / 'dets.npz', self.dets, [self.name], self.classes, meta)
        annotation = self.to_annotation(video_path)
        save_annotation(annotation, folder / 'tubes.json')
        save_act(annotation, folder / 'tubes_act.pkl')
        save_coco_video(annotation, folder / 'coco.json')
        with atomic_write(folder / 'cvat.xml') as file:
            file.write(to_cvat(annotation, self.name))
        with atomic_write(folder / 'result.json') as file:
            json.dump(self.to_json(), file)


def frame_json(frame: int, dets: Detections, classes: Sequence[str], score_thr: float) -> dict:
    """One entry of ``frames``: the boxes of a frame of at least ``score_thr``, best first."""
    keep = np.flatnonzero(dets.score >= score_thr)
    rows = dets.take(keep[np.argsort(-dets.score[keep], kind='stable')])
    return dict(
        frame=frame,
        boxes=_rounded(rows.boxes),
        scores=[round(score, 4) for score in rows.score.tolist()],
        labels=[classes[label] for label in rows.label.tolist()],
    )


def _rounded(boxes: np.ndarray) -> list[list[float]]:
    return [[round(value, 2) for value in box] for box in boxes.tolist()]
