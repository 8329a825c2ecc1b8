"""The numbers of a table from the records of its runs."""

from collections.abc import Iterable, Sequence

import numpy as np

METRICS = {
    'frame_map50': lambda record: record['metrics']['frame_map']['0.5'],
    'video_map20': lambda record: record['metrics']['video_map']['0.2'],
    'video_map50': lambda record: record['metrics']['video_map']['0.5'],
    'video_map75': lambda record: record['metrics']['video_map']['0.75'],
    'video_map5095': lambda record: record['metrics']['video_map']['0.5:0.95'],
}
"""Metric to its value in a record, percent."""

Values = dict[str, dict[int, float]]  # row -> seed -> percent


def summarise(values: Iterable[float]) -> dict:
    """Mean and sample standard deviation, ``sqrt(sum (x - mean)^2 / (n - 1))``; None for n = 1."""
    values = np.asarray(list(values), float)
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return {'mean': float(values.mean()), 'std': std}


def gain_over(row: dict[int, float], baseline: dict[int, float]) -> dict | None:
    """Difference to a baseline, seed by seed, over the seeds that both have.

    Args:
        row: Seed to percent.
        baseline: Seed to percent.

    Returns:
        ``mean`` and ``std`` of the differences in points, and ``n``; None without common seeds.
    """
    common = sorted(row.keys() & baseline.keys())
    if not common:
        return None
    return {**summarise(row[seed] - baseline[seed] for seed in common), 'n': len(common)}


def gap_closed(row: float, baseline: float, oracle: float) -> float | None:
    """Share of the gap that is closed, in percent: ``100 (row - baseline) / (oracle - baseline)``.

    None where the oracle is no better than the baseline.
    """
    return 100 * (row - baseline) / (oracle - baseline) if oracle > baseline else None


def collect(records: Sequence[dict], metric: str) -> Values:
    """Row to seed to the value of one metric of :data:`METRICS`."""
    values: Values = {}
    for record in records:
        values.setdefault(record['row'], {})[record['seed']] = METRICS[metric](record)
    return values


def make_table(
    records: Sequence[dict], missing: Sequence[tuple[str, int]] = (), pair: str | None = None
) -> dict:
    """The table of a pair; everything in percent.

    Args:
        records: Results that may stand in one table, in the order of the rows.
        missing: Cells (row, seed) that are wanted but not finished.
        pair: The pair's name, if there are no records yet.

    Returns:
        ``pair``, ``seeds``, ``rows``, ``missing``, and how it was made. Of a row: the metrics of
        :data:`METRICS` with mean and sample standard deviation over seeds (None for one seed),
        ``n``, ``seeds``, ``frame_ap`` and ``video_ap`` per class, ``gain`` over source-only (see
        :func:`gain_over`) and ``gap_closed`` of frame-mAP (see :func:`gap_closed`), None where
        source-only or oracle is missing.
    """
    values = {metric: collect(records, metric) for metric in METRICS}
    frame = values['frame_map50']
    means = {row: float(np.mean(list(of_row.values()))) for row, of_row in frame.items()}
    rows = {}
    for row, of_row in frame.items():
        entry: dict = {metric: summarise(values[metric][row].values()) for metric in METRICS}
        entry.update(n=len(of_row), seeds=sorted(of_row))
        for kind in ('frame_ap', 'video_ap'):
            entry[kind] = _per_class([r for r in records if r['row'] == row], kind)
        compared = row != 'source_only' and 'source_only' in frame
        entry['gain'] = {
            metric: gain_over(values[metric][row], values[metric]['source_only'])
            if compared
            else None
            for metric in ('frame_map50', 'video_map50')
        }
        between = compared and row != 'oracle' and 'oracle' in frame
        entry['gap_closed'] = (
            gap_closed(means[row], means['source_only'], means['oracle']) if between else None
        )
        rows[row] = entry
    first = records[0] if records else {'pair': pair, 'metrics': {}}
    return {
        'pair': first['pair'],
        'seeds': sorted({r['seed'] for r in records} | {seed for _, seed in missing}),
        'rows': rows,
        'missing': [{'row': row, 'seed': seed} for row, seed in missing],
        'std': 'sample standard deviation over seeds (ddof=1)',
        'checkpoint': 'the last one',
        **{key: first['metrics'].get(key) for key in ('protocol', 'dataset', 'split')},
        'background_frames': first['metrics'].get('background_frames'),
        'iterations': sorted({r['iterations'] for r in records if r['iterations'] is not None}),
        **{key: first.get(key) for key in ('cfg_options', 'amp', 'processes')},
        'commits': sorted({f'{r["commit"]}{"+" if r["dirty"] else ""}' for r in records}),
    }


def _per_class(records: Sequence[dict], kind: str) -> dict[str, dict]:
    """Class to mean and standard deviation of its AP."""
    classes = dict.fromkeys(name for r in records for name in r['metrics'][kind])
    return {
        name: summarise(r['metrics'][kind][name] for r in records if name in r['metrics'][kind])
        for name in classes
    }
