"""Results as tables: for the terminal, and as CSV and JSON."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from terminaltables import AsciiTable

from .functional.curves import Curve
from .functional.error_analysis import ErrorShares


def _cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _cell(float(np.mean(known)) if known else None)


def format_results(result: dict[str, Any]) -> str:
    """Per-class AP and the means of :func:`~.functional.evaluate_detections` as a table."""
    frame_iou = f'{result["constants"]["frame_iou"]:g}'
    frame_ap, video_ap = result[f'frame_AP@{frame_iou}'], result['video_AP@0.5']
    rows = [['class', f'frame-AP@{frame_iou}', 'video-AP@0.5']]
    for row in zip(result['labels'], frame_ap, video_ap, strict=True):
        rows.append([row[0], _cell(row[1]), _cell(row[2])])
    rows.append(['mean', _mean(frame_ap), _mean(video_ap)])
    classes = AsciiTable(rows, title=f'protocol {result["protocol"]}')
    classes.inner_footing_row_border = True
    classes.justify_columns = {1: 'right', 2: 'right'}
    keys = [key for key in result if '_mAP@' in key]
    means = AsciiTable(
        [[key.replace('_', '-') for key in keys], [_cell(result[key]) for key in keys]]
    )
    frames = 'all frames' if result['background_frames'] else 'annotated frames only'
    counts = (
        f'{result["n_videos"]} videos, {result["n_frames"]} frames ({frames}), '
        f'{result["n_gt_tubes"]} ground-truth tubes; '
        f'{result["n_detections"]} detections, {result["n_tubes"]} linked tubes'
    )
    return '\n'.join([classes.table, means.table, counts, *_limits(result)])


def _limits(result: dict[str, Any]) -> list[str]:
    """Lines about what keeps even perfect detections from a full score."""
    lines, total = [], result['n_gt_tubes']
    short, twice = result['n_gt_tubes_too_short'], result['n_gt_tubes_twice']
    if short:
        least = result['constants']['min_length']
        lines.append(
            f'{short} of {total} ground-truth tubes have fewer than {least} frames (min_length):'
            ' a tube of their length is dropped, so video-mAP cannot find them'
        )
    if twice:
        lines.append(
            f'{twice} of {total} ground-truth tubes repeat another one of their class box by box:'
            ' no detector finds both (prepare.py … --merge-duplicates)'
        )
    if total and result['n_detections'] and not _any(result):
        lines.append(
            'no detection matches ground truth of its class: are boxes in pixels of the original'
            ' video, do frames count from 1, do labels follow the order of the classes?'
        )
    return lines


def _any(result: dict[str, Any]) -> bool:
    """Whether any class has a frame-AP above 0."""
    return any(ap for ap in result[f'frame_AP@{result["constants"]["frame_iou"]:g}'] if ap)


def format_published(result: dict[str, Any]) -> str:
    """Numbers of a published run beside those that its rounded detections give, as a table.

    Args:
        result: Of :func:`~.functional.evaluate_detections`, and ``published`` {metric: percent}.
    """
    rows = [['', 'published', 'this file', 'difference']]
    for key, value in result['published'].items():
        found = result.get(key)
        both = value is not None and found is not None
        rows.append(
            [
                key.replace('_', '-'),
                _cell(value),
                _cell(found),
                f'{found - value:+.2f}' if both else '-',
            ]
        )
    table = AsciiTable(rows, title='as published')
    table.justify_columns = {1: 'right', 2: 'right', 3: 'right'}
    return table.table


def format_errors(errors: ErrorShares) -> str:
    """The shares of :func:`~.functional.analyse_errors` as a table."""
    keys = list(errors['mean'])
    rows = [['class', *keys]]
    for name, shares in {**errors['classes'], 'mean': errors['mean']}.items():
        rows.append([name, *(_cell(None if shares is None else shares[key]) for key in keys)])
    table = AsciiTable(rows, title='errors in frame-AP, percent')
    table.inner_footing_row_border = True
    table.justify_columns = {column: 'right' for column in range(1, len(keys) + 1)}
    return table.table


def confusion_csv(matrix: np.ndarray, labels: Sequence[str]) -> str:
    """A confusion matrix as CSV: a row per class of the ground truth, and one of background."""
    rows = [['ground truth', *labels, 'missed']]
    names = [*labels, 'background']
    rows += [[name, *row] for name, row in zip(names, matrix.tolist(), strict=True)]
    return _csv(rows)


def curves_csv(curves: Mapping[str, Sequence[Curve | None]], labels: Sequence[str]) -> str:
    """Precision-recall curves as CSV, a row per point; the first point of a curve has no score."""
    rows: list[list[Any]] = [['level', 'class', 'score', 'recall', 'precision']]
    for level, of_level in curves.items():
        for name, curve in zip(labels, of_level, strict=True):
            for score, recall, precision in _points(curve):
                rows.append([level, name, '' if score is None else score, recall, precision])
    return _csv(rows)


def curves_json(
    curves: Mapping[str, Sequence[Curve | None]], labels: Sequence[str]
) -> dict[str, Any]:
    """Level -> class -> ``ap`` in percent, and the points ``score``, ``recall``, ``precision``."""
    result: dict[str, Any] = {}
    for level, of_level in curves.items():
        result[level] = {}
        for name, curve in zip(labels, of_level, strict=True):
            if curve is not None:
                columns = zip(*_points(curve), strict=True)
                points = dict(zip(('score', 'recall', 'precision'), columns, strict=True))
                result[level][name] = {'ap': 100 * curve.ap, **points}
    return result


def _points(curve: Curve | None) -> list[tuple[float | None, float, float]]:
    """Score (None at the first point), recall and precision of every point."""
    if curve is None:
        return []
    scores = [score if np.isfinite(score) else None for score in curve.score.tolist()]
    return list(zip(scores, curve.recall.tolist(), curve.precision.tolist(), strict=True))


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()
