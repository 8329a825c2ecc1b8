"""Proposals of a region proposal network on disk, by part, video and key frame.

``tools/data/dump_proposals.py`` writes the file, one ``.npz`` with one or more parts (``train``,
``val``, ``test``: the dataset of that dataloader). For every part it holds

================ ============= ================================================================
``<part>/videos``      (V,) str      names of the videos
``<part>/num_frames``  (V,) int32    their lengths, which show whether a video is another version
``<part>/video``       (K,) int32    video index of each key frame; sorted by video, then frame
``<part>/frame``       (K,) int32    its number, 1-based
``<part>/first``       (K+1,) int64  its proposals are the rows ``first[k]:first[k + 1]``
``<part>/boxes``       (N, 4) float32  ``x1 y1 x2 y2`` in pixels of the original video, the
                                     annotation's convention; per frame by descending score
``<part>/scores``      (N,) float32  objectness in [0, 1]
================ ============= ================================================================

and ``meta``, a JSON text: the config and checkpoint they come from.
"""

import json
import os
import zipfile
from collections.abc import Mapping

import numpy as np

from mmstal_da.errors import ProposalError
from mmstal_da.tubes.plausible import look_like_fractions
from mmstal_da.utils.arrays import load_npz
from mmstal_da.utils.io import atomic_write

PARTS = ('train', 'val', 'test')
GROUND_TRUTH = 'ground_truth'  # in place of a file: the labelled boxes
_COLUMNS = ('videos', 'num_frames', 'video', 'frame', 'first', 'boxes', 'scores')
# (video name, key frame) -> boxes (n, 4) and scores (n,)
FrameProposals = Mapping[tuple[str, int], tuple[np.ndarray, np.ndarray]]


def how_to_make(path: str | os.PathLike[str]) -> str:
    """The command that makes a file of proposals."""
    return (
        'make it from a trained detector of this project:'
        f' python tools/data/dump_proposals.py CONFIG CHECKPOINT --out {os.fspath(path)}'
    )


def save_proposals(
    path: str | os.PathLike[str],
    parts: Mapping[str, tuple[FrameProposals, Mapping[str, int]]],
    meta: Mapping | None = None,
) -> None:
    """Write proposals, completely or not at all.

    Args:
        path: Destination, ``.npz``.
        parts: Name of the part -> the proposals of its key frames and the number of frames of
            each of its videos. Boxes need no order; they are written by descending score.
        meta: JSON-serialisable facts about the origin.
    """
    arrays = {}
    for part, (proposals, num_frames) in parts.items():
        videos = sorted({video for video, _ in proposals})
        keys = sorted(proposals)  # by video, then frame
        boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for key in keys:
            order = np.argsort(-proposals[key][1], kind='stable')
            boxes.append(np.asarray(proposals[key][0], np.float32).reshape(-1, 4)[order])
            scores.append(np.asarray(proposals[key][1], np.float32)[order])
        index = {video: number for number, video in enumerate(videos)}
        columns = dict(
            videos=np.array(videos, np.str_),
            num_frames=np.array([num_frames[video] for video in videos], np.int32),
            video=np.array([index[video] for video, _ in keys], np.int32),
            frame=np.array([frame for _, frame in keys], np.int32),
            # the arrays begin with an empty one, so an empty part is no special case
            first=np.cumsum([len(rows) for rows in scores], dtype=np.int64),
            boxes=np.concatenate(boxes),
            scores=np.concatenate(scores),
        )
        arrays.update({f'{part}/{name}': column for name, column in columns.items()})
    with atomic_write(path, 'wb') as file:
        text = np.array(json.dumps(dict(meta or {})))
        # to NumPy's stubs one of the arrays might be the flag allow_pickle
        np.savez_compressed(file, meta=text, **arrays)  # type: ignore[arg-type]


def require_part(path: str | os.PathLike[str], part: str) -> None:
    """Check that a file of proposals exists and has a part, without reading it.

    Raises:
        ProposalError: No such file or part, or not such a file; says how to make it.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ProposalError(f'{path}: no such file of proposals; {how_to_make(path)}')
    try:
        with zipfile.ZipFile(path) as archive:
            parts = sorted({name.split('/')[0] for name in archive.namelist() if '/' in name})
    except (OSError, zipfile.BadZipFile) as error:
        raise ProposalError(
            f'{path}: not a readable file of proposals ({error}); {how_to_make(path)}'
        ) from error
    if part not in parts:
        raise ProposalError(
            f'{path}: no part {part!r}, only {parts}; {how_to_make(path)}'
            f' --part {" ".join(sorted({part, *parts}))}'
        )


def _check(columns: dict[str, np.ndarray], where: str) -> None:
    """Check a part's arrays (see the module).

    Raises:
        ProposalError: Names the file, the part, and the video and frame of the first wrong entry.
    """

    def refuse(problem: str) -> None:
        raise ProposalError(f'{where}: {problem}; make the file again')

    kinds = dict(videos='U', num_frames='iu', video='iu', frame='iu', first='iu', boxes='f')
    for name, kind in {**kinds, 'scores': 'f'}.items():
        found = columns[name]
        if found.ndim != (2 if name == 'boxes' else 1) or found.dtype.kind not in kind:
            refuse(f'{name!r} is an array of {found.dtype} and shape {found.shape}')
    videos, first, boxes, scores = (columns[k] for k in ('videos', 'first', 'boxes', 'scores'))
    video, frame = columns['video'].astype(np.int64), columns['frame'].astype(np.int64)
    num_frames, total = columns['num_frames'].astype(np.int64), len(scores)
    first = first.astype(np.int64)
    if len(set(videos.tolist())) != len(videos):
        refuse('a video is there twice')
    if boxes.shape != (total, 4):
        refuse(f"'boxes' has shape {boxes.shape} for {total} scores")
    if not len(num_frames) == len(videos) or (num_frames < 1).any():
        refuse("'num_frames' is not a length of every video")
    if len(frame) != len(video) or len(first) != len(frame) + 1:
        refuse(f'{len(video)} videos, {len(frame)} frames and {len(first)} offsets of key frames')
    if ((video < 0) | (video >= len(videos))).any():
        refuse(f"'video' is not below {len(videos)}")
    if first[0] != 0 or first[-1] != total or (np.diff(first) < 0).any():
        refuse(f"'first' does not run from 0 to {total}")

    def at(row: int) -> str:
        key = int(np.searchsorted(first, row, side='right')) - 1
        return f'video {str(videos[video[key]])!r}, frame {frame[key]}, proposal {row - first[key]}'

    order = (np.diff(video) > 0) | ((np.diff(video) == 0) & (np.diff(frame) > 0))
    outside = (frame < 1) | (frame > num_frames[video])
    if outside.any() or not order.all():
        key = int(np.argmax(outside)) if outside.any() else int(np.argmin(order)) + 1
        name, last = str(videos[video[key]]), num_frames[video[key]]
        problem = f'is not in 1..{last}' if outside.any() else 'is not in order, or is there twice'
        refuse(f'video {name!r}: frame {frame[key]} {problem}')
    for bad, problem in (
        (~np.isfinite(boxes).all(1) | ~np.isfinite(scores), 'is not finite'),
        ((boxes[:, 2:] < boxes[:, :2]).any(1), 'is inverted'),
        ((scores < 0) | (scores > 1), 'has a score outside of [0, 1]'),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            box = ' '.join(f'{value:g}' for value in boxes[row])
            refuse(f'{at(row)} {problem}: box {box}, score {scores[row]:g}')
    if look_like_fractions(boxes):
        refuse('all boxes lie between 0 and 1: they seem to be fractions of the frame')
    descending = np.diff(scores) <= 0
    descending[first[1:-1][(first[1:-1] > 0) & (first[1:-1] < total)] - 1] = True  # other frames
    if not descending.all():
        refuse(f'{at(int(np.argmin(descending)) + 1)} has a higher score than the one before')


class ProposalFile:
    """One part of a file of proposals, in memory.

    Args:
        path: The file.
        part: Which of its parts; the others are not read.

    Attributes:
        meta: What the file says about its origin.

    Raises:
        ProposalError: No such file or part, not such a file, or an entry of it is wrong.
    """

    def __init__(self, path: str | os.PathLike[str], part: str) -> None:
        self.path, self.part = os.fspath(path), part
        require_part(path, part)
        try:
            arrays = load_npz(self.path)
            missing = [name for name in _COLUMNS if f'{part}/{name}' not in arrays]
            if missing or 'meta' not in arrays:
                raise ValueError(f'it lacks {missing or ["meta"]}')
            self.meta = json.loads(str(arrays['meta']))
            columns = {name: arrays[f'{part}/{name}'] for name in _COLUMNS}
        except (ValueError, OSError, RecursionError) as error:
            raise ProposalError(
                f'{self.path}: not a readable file of proposals ({error}); {how_to_make(path)}'
            ) from error
        _check(columns, f'{self.path}, part {part!r}')
        self._index = {str(name): number for number, name in enumerate(columns['videos'])}
        self._num_frames = columns['num_frames']
        # where the key frames of each video begin
        self._begin = np.searchsorted(columns['video'], np.arange(len(self._index) + 1))
        self._frame, self._first = columns['frame'], columns['first']
        self._boxes, self._scores = columns['boxes'], columns['scores']

    def of_frame(self, video: str, frame: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
        """The proposals of a key frame, by descending score.

        Args:
            video: Name of the video.
            frame: Number of the key frame, 1-based.
            num_frames: Length of the video, to detect another version of the video.

        Returns:
            Boxes (n, 4) in pixels of the original video and scores (n,); n may be 0.

        Raises:
            ProposalError: The file has no such frame, or was made from another version of the
                video.
        """
        where = f'{self.path}, part {self.part!r}'
        number = self._index.get(video)
        if number is None:
            raise ProposalError(f'{where}: no video {video!r}; {how_to_make(self.path)}')
        if self._num_frames[number] != num_frames:
            raise ProposalError(
                f'{where}: video {video!r} had {self._num_frames[number]} frames when the'
                f' proposals were made and has {num_frames} now; {how_to_make(self.path)}'
            )
        begin, end = self._begin[number], self._begin[number + 1]
        place = begin + int(np.searchsorted(self._frame[begin:end], frame))
        if place == end or self._frame[place] != frame:
            raise ProposalError(
                f'{where}: no frame {frame} of video {video!r}; {how_to_make(self.path)}'
            )
        rows = slice(self._first[place], self._first[place + 1])
        return self._boxes[rows].copy(), self._scores[rows].copy()
