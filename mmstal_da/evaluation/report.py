"""Results as tables for the terminal."""

import numpy as np
from terminaltables import AsciiTable


def _cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _cell(float(np.mean(known)) if known else None)


def format_results(result: dict) -> str:
    """Per-class AP and the means of :func:`~.functional.evaluate_detections` as a table."""
    rows = [['class', 'frame-AP@0.5', 'video-AP@0.5']]
    for row in zip(result['labels'], result['frame_ap50'], result['video_ap50'], strict=True):
        rows.append([row[0], _cell(row[1]), _cell(row[2])])
    rows.append(['mean', _mean(result['frame_ap50']), _mean(result['video_ap50'])])
    classes = AsciiTable(rows, title=f'protocol {result["protocol"]}')
    classes.inner_footing_row_border = True
    classes.justify_columns = {1: 'right', 2: 'right'}
    ious = [key.removeprefix('video_map@') for key in result if key.startswith('video_map@')]
    values = [_cell(result[f'video_map@{iou}']) for iou in ious]
    means = AsciiTable(
        [
            ['frame-mAP@0.5', *(f'video-mAP@{iou}' for iou in ious), 'video-mAP@0.5:0.95'],
            [_cell(result['frame_map50']), *values, _cell(result['video_map5095'])],
        ]
    )
    frames = 'all frames' if result['background_frames'] else 'annotated frames only'
    counts = (
        f'{result["n_videos"]} videos, {result["n_frames"]} frames ({frames}), '
        f'{result["n_gt_tubes"]} ground-truth tubes; '
        f'{result["n_detections"]} detections, {result["n_tubes"]} linked tubes'
    )
    return f'{classes.table}\n{means.table}\n{counts}'


def format_errors(errors: dict) -> str:
    """The shares of :func:`~.functional.analyse_errors` as a table."""
    keys = list(errors['mean'])
    rows = [['class', *keys]]
    for name, shares in {**errors['classes'], 'mean': errors['mean']}.items():
        rows.append([name, *(_cell(None if shares is None else shares[key]) for key in keys)])
    table = AsciiTable(rows, title='errors in frame-AP, percent')
    table.inner_footing_row_border = True
    table.justify_columns = {column: 'right' for column in range(1, len(keys) + 1)}
    return table.table
