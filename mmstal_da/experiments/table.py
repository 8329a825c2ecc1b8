"""The numbers of a table from the records of its runs, and the table as Markdown."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.stats import t as student

from .record import ANNOTATED, CLASS_METRICS, DESCRIPTION, METRICS
from .rows import (
    BLOCKS,
    LABELS,
    OTHER_LABELS,
    control_of,
    row_order,
    split_row,
    upper_bound_of,
    uses_target_labels,
)

WHOSE = {
    'person': "a person's labels",
    'boxes': "a person's boxes, without their classes,",
    'model': "a model's labels, uncorrected,",
}
"""Value of :func:`~.record.target_labels` -> what the table says."""

FRAME, VIDEO = SHOWN = ('frame_mAP@0.5', 'video_mAP@0.5')
"""The two metrics that pictures and Markdown show."""

Values = dict[str, dict[int, float]]  # row -> seed -> percent


def summarise(values: Iterable[float]) -> dict | None:
    """Mean and sample standard deviation, ``sqrt(sum (x - mean)^2 / (n - 1))``.

    ``std`` is None for one value; without values there is no summary.
    """
    values = np.asarray(list(values), float)
    if not len(values):
        return None
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return {'mean': float(values.mean()), 'std': std}


def gain_over(row: dict[int, float], baseline: dict[int, float]) -> dict | None:
    """Difference to a baseline, seed by seed, over the seeds that both have.

    Args:
        row: Seed to percent.
        baseline: Seed to percent.

    Returns:
        ``mean`` and ``std`` of the differences in points, and ``n``; None without common seeds.
        ``half_width`` of the mean's 95% interval, Student's t for paired samples: ``t(0.975, n - 1)
        std / sqrt(n)``. ``visible``: the true difference that n such seeds find to differ from 0
        (two-sided, 5%) four times out of five: ``(t(0.975, n - 1) + t(0.8, n - 1)) std / sqrt(n)``.
        Both are None for one seed.
    """
    common = sorted(row.keys() & baseline.keys())
    summary = summarise(row[seed] - baseline[seed] for seed in common)
    if summary is None:
        return None
    n = len(common)
    half_width = visible = None
    if summary['std'] is not None:
        deviation = summary['std'] / np.sqrt(n)
        half_width = float(student.ppf(0.975, n - 1) * deviation)
        visible = half_width + float(student.ppf(0.8, n - 1) * deviation)
    return {**summary, 'n': n, 'half_width': half_width, 'visible': visible}


def gap_closed(row: float, baseline: float, oracle: float) -> float | None:
    """Share of the gap that is closed, in percent: ``100 (row - baseline) / (oracle - baseline)``.

    None where the oracle is no better than the baseline.
    """
    return 100 * (row - baseline) / (oracle - baseline) if oracle > baseline else None


def collect(records: Sequence[dict], metric: str) -> Values:
    """Row to seed to the value of one of :data:`~.record.METRICS`, where there is one."""
    values: Values = {}
    for record in records:
        of_row = values.setdefault(record['row'], {})
        if record['metrics'].get(metric) is not None:
            of_row[record['seed']] = record['metrics'][metric]
    return values


def make_table(
    records: Sequence[dict],
    missing: Sequence[tuple[str, int]] = (),
    pair: str | None = None,
    failed: Mapping[tuple[str, int], str] | None = None,
) -> dict:
    """The table of a pair; everything in percent.

    Args:
        records: Results that may stand in one table, in the order of the rows.
        missing: Cells (row, seed) that are wanted but not finished.
        pair: The pair's name, if there are no records yet.
        failed: Cells whose run failed, and why. Those with a record do not count.

    Returns:
        ``pair``, ``seeds``, ``rows``, ``missing``, ``failed``, and how it was made. Of a row: each
        of :data:`~.record.METRICS` with mean and sample standard deviation over seeds (None for one
        seed), :data:`~.record.ANNOTATED` likewise, ``n``, ``seeds``, each of
        :data:`~.record.CLASS_METRICS` per class, ``target_labels`` (see
        :func:`~.record.target_labels`), ``control``, the source-only row that trains likewise,
        ``gain`` over it (see :func:`gain_over`), ``upper_bound``, and ``gap_closed`` of
        frame-mAP between them (see :func:`gap_closed`). ``gap_closed`` is None where one of them
        is missing, and for rows that use labels of the target.
    """
    metrics = (*METRICS, ANNOTATED)
    values = {metric: collect(records, metric) for metric in metrics}
    means = {row: float(np.mean(list(of.values()))) for row, of in values[FRAME].items() if of}
    rows = {}
    for row in values[FRAME]:
        of_row = [record for record in records if record['row'] == row]
        entry: dict = {metric: summarise(values[metric][row].values()) for metric in metrics}
        entry.update(n=len(of_row), seeds=sorted(record['seed'] for record in of_row))
        for key in CLASS_METRICS:
            found = [record['metrics'][key] for record in of_row]
            classes = dict.fromkeys(name for aps in found for name in aps)
            entry[key] = {c: summarise(aps[c] for aps in found if c in aps) for c in classes}
        control, bound = control_of(row), upper_bound_of(row, values[FRAME])
        entry.update(control=control, upper_bound=bound)
        entry['gain'] = {
            metric: gain_over(values[metric][row], values[metric].get(control, {}))
            if row != control
            else None
            for metric in SHOWN
        }
        ends = {control, bound}
        labels = [record.get('target_labels') for record in of_row]
        entry['target_labels'] = next(filter(None, labels), None)
        labelled = uses_target_labels(row) or 'person' in labels
        between = not (row in ends or labelled) and {row, *ends} <= means.keys()
        entry['gap_closed'] = (
            gap_closed(means[row], means[control], means[bound]) if between else None
        )
        rows[row] = entry
    finished = {(record['row'], record['seed']) for record in records}
    failures = {cell: why for cell, why in (failed or {}).items() if cell not in finished}
    missing = [cell for cell in missing if cell not in failures]
    absent = [*missing, *failures]
    first = records[0] if records else {'pair': pair, 'metrics': {}}
    return {
        'pair': first['pair'],
        'seeds': sorted({r['seed'] for r in records} | {seed for _, seed in absent}),
        'rows': rows,
        'missing': [{'row': row, 'seed': seed} for row, seed in missing],
        'failed': [{'row': row, 'seed': seed, 'why': why} for (row, seed), why in failures.items()],
        'std': 'sample standard deviation over seeds (ddof=1)',
        'checkpoint': 'the last one',
        **{key: first['metrics'].get(key) for key in (*DESCRIPTION, 'background_frames')},
        'iterations': sorted({r['iterations'] for r in records if r['iterations'] is not None}),
        **{key: first.get(key) for key in ('cfg_options', 'amp', 'processes')},
        'commits': sorted({f'{r["commit"]}{"+" if r["dirty"] else ""}' for r in records}),
    }


def format_cell(entry: dict | None, n: int, signed: bool = False) -> str:
    """``12.3 ± 0.4``, or ``12.3 (n=1)`` without standard deviation; - for None."""
    if entry is None:
        return '-'
    rounded = round(entry['mean'], 1) + 0.0  # no -0.0
    mean = f'{rounded:+.1f}' if signed else f'{rounded:.1f}'
    if entry['std'] is None:
        return f'{mean} (n={n})'
    return f'{mean} ± {entry["std"]:.1f}'


def format_gain(gain: dict | None) -> str:
    """``+7.1 [+1.2, +13.0]``, in parentheses if the interval holds 0; ``+9.6 (n=1)``; ``-``."""
    if gain is None or gain['half_width'] is None:
        return format_cell(gain, gain['n'] if gain else 0, signed=True)
    low, high = gain['mean'] - gain['half_width'], gain['mean'] + gain['half_width']
    text = f'{gain["mean"]:+.1f} [{low:+.1f}, {high:+.1f}]'
    return f'({text})' if low <= 0 <= high else text


def label_of(row: str) -> str:
    """How a table calls a row."""
    method, block = split_row(row)
    label = LABELS.get(method) or OTHER_LABELS.get(method, f'`{method}`')
    return f'{label}, {BLOCKS[block]}' if block else label


def format_table(table: dict) -> str:
    """The rows of :func:`make_table` as Markdown and, below, how the numbers were made.

    A row: AP of every class, frame-mAP, of the annotated frames too where there are others,
    video-mAP, gain of frame-mAP over the control with its interval, the gain that is visible, and
    the share of the gap that is closed. A row with fewer seeds than the table says how many; a row
    or a seed that is missing is named below.
    """
    rows = table['rows']
    missing, failed = _by_row(table['missing']), _by_row(table.get('failed', ()))
    frame_ap = CLASS_METRICS[0]
    classes = list(dict.fromkeys(name for row in rows.values() for name in row[frame_ap]))
    shown = [
        metric for metric in (FRAME, ANNOTATED, VIDEO) if any(row[metric] for row in rows.values())
    ]
    titles = {FRAME: 'frame-mAP', ANNOTATED: 'annotated', VIDEO: 'video-mAP'}
    columns = [*classes, *(titles[metric] for metric in shown), 'gain', 'visible', 'gap closed']
    lines = [f'| | {" | ".join(columns)} |', f'| --- |{" ---: |" * len(columns)}']
    for name in sorted({*rows, *missing, *failed}, key=row_order):
        label = label_of(name)
        if name not in rows:
            why = '**FAILED**' if name in failed else 'missing'
            lines.append(f'| {label} ({why}) |{" - |" * len(columns)}')
            continue
        row = rows[name]
        if name in failed:
            label += f' (n={row["n"]}, {len(failed[name])} **FAILED**)'
        elif name in missing or (1 < row['n'] < len(table['seeds'])):
            label += f' (n={row["n"]})'
        gain, gap = row['gain'][FRAME], row['gap_closed']
        cells = [format_cell(row[frame_ap].get(c), row['n']) for c in classes]
        cells += [format_cell(row[metric], row['n']) for metric in shown]
        cells.append(format_gain(gain))
        cells.append('-' if gain is None or gain['visible'] is None else f'{gain["visible"]:.1f}')
        cells.append('-' if gap is None else f'{gap:.0f}%')
        lines.append(f'| {label} | {" | ".join(cells)} |')
    return '\n'.join([*lines, '', *_notes(table, missing)]) + '\n'


def _by_row(cells: Iterable[dict]) -> dict[str, list[int]]:
    """Row to seeds."""
    seeds: dict[str, list[int]] = {}
    for cell in cells:
        seeds.setdefault(cell['row'], []).append(cell['seed'])
    return seeds


def _notes(table: dict, missing: dict[str, list[int]]) -> list[str]:
    """What has to be known to read the table."""
    seeds = ', '.join(map(str, table['seeds']))
    frames = 'all frames' if table['background_frames'] else 'annotated frames only'
    bounds = ' or '.join(sorted({row['upper_bound'] for row in table['rows'].values()}))
    notes = [
        f'Percent at IoU 0.5 on {table["dataset"]}, split {table["split"]}; protocol '
        f'`{table["protocol"]}`, {frames}; the last checkpoint of '
        f'{" or ".join(map(str, table["iterations"])) or "the"} iterations; mean ± sample standard '
        f'deviation (n - 1) over the seeds {seeds}. Class columns: frame-AP. Gain: frame-mAP minus '
        "source-only's of the same seed and block, in points, with the 95% interval of the mean "
        '(paired t); in parentheses where the interval holds 0. Visible: the true gain that this '
        'many seeds would find in four of five tables. Gap closed: (row - source-only) / (upper '
        f'bound - source-only) of the mean frame-mAPs; the upper bound is {bounds}.'
    ]
    if not table['rows']:
        notes = ['No run is finished yet.']
    for who, what in WHOSE.items():
        of = [name for name, row in table['rows'].items() if row['target_labels'] == who]
        notes += ['', f'Trained on {what} of the target: {", ".join(of)}.'] if of else []
    settings = [*(table['cfg_options'] or ())]
    settings += ['mixed precision'] if table['amp'] else []
    settings += [f'{table["processes"]} processes'] if (table['processes'] or 1) > 1 else []
    if settings:
        notes += ['', 'Run with ' + ', '.join(f'`{setting}`' for setting in settings) + '.']
    if missing:
        cells = [f'{row} (seed {", ".join(map(str, of))})' for row, of in missing.items()]
        notes += ['', f'**Missing**: {"; ".join(cells)}.']
    for cell in table.get('failed', ()):
        notes += ['', f'**FAILED**: {cell["row"]} seed {cell["seed"]}: {cell["why"]}']
    return notes
