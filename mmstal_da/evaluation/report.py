"""Results as tables for the terminal."""

from terminaltables import AsciiTable


def format_results(result: dict) -> str:
    """Per-class AP and the means of :func:`~.functional.evaluate_detections` as a table."""

    def cell(value: float | None) -> str:
        return '-' if value is None else f'{value:.2f}'

    rows = [['class', 'frame-AP@0.5', 'video-AP@0.5']]
    for row in zip(result['labels'], result['frame_ap50'], result['video_ap50'], strict=True):
        rows.append([row[0], cell(row[1]), cell(row[2])])
    rows.append(['mean', cell(result['frame_map50']), cell(result['video_map@0.5'])])
    classes = AsciiTable(rows, title=f'protocol {result["protocol"]}')
    classes.inner_footing_row_border = True
    classes.justify_columns = {1: 'right', 2: 'right'}
    ious = [key.removeprefix('video_map@') for key in result if key.startswith('video_map@')]
    values = [cell(result[f'video_map@{iou}']) for iou in ious]
    means = AsciiTable(
        [
            ['frame-mAP@0.5', *(f'video-mAP@{iou}' for iou in ious), 'video-mAP@0.5:0.95'],
            [cell(result['frame_map50']), *values, cell(result['video_map5095'])],
        ]
    )
    frames = 'all frames' if result['background_frames'] else 'annotated frames only'
    counts = (
        f'{result["n_videos"]} videos, {result["n_frames"]} frames ({frames}), '
        f'{result["n_gt_tubes"]} ground-truth tubes; '
        f'{result["n_detections"]} detections, {result["n_tubes"]} linked tubes'
    )
    return f'{classes.table}\n{means.table}\n{counts}'
