"""Results as tables for the terminal."""

from typing import Any

import numpy as np
from terminaltables import AsciiTable

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
