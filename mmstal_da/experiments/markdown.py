"""A table in the paper's layout, as Markdown."""

LABELS = {
    'source_only': 'I3D+RPN (source only)',
    't_img': 'T_img',
    't_inst': 'T_inst',
    's_img': 'S_img',
    't_img_s_img': 'T_img + S_img',
    't_inst_s_img': 'T_inst + S_img',
    'full': 'T_img + T_inst + S_img',
    'oracle': 'Oracle',
}
"""How the paper calls the rows."""

OTHER_LABELS = {
    'oracle_st': '`oracle_st`: labels of both domains',
    'dn': '`dn`: statistics per domain, no discriminator',
    'full_dn': '`full_dn`: all three, statistics per domain',
    'key_frame_only': '`key_frame_only`: an oracle that sees one frame',
    'slowonly': "`slowonly`: SlowOnly-R50, our RPN's proposals",
    'slowonly_gt': '`slowonly_gt`: SlowOnly-R50, labelled boxes',
    'slowfast': "`slowfast`: SlowFast-R50, our RPN's proposals",
    'slowfast_gt': '`slowfast_gt`: SlowFast-R50, labelled boxes',
    'acrn': "`acrn`: ACRN, our RPN's proposals",
    'acrn_gt': '`acrn_gt`: ACRN, labelled boxes',
}
"""What rows are that the paper does not have."""


def format_cell(entry: dict | None, n: int, signed: bool = False) -> str:
    """``12.3 ± 0.4``, or ``12.3 (n=1)`` without standard deviation; - for None."""
    if entry is None:
        return '-'
    rounded = round(entry['mean'], 1) + 0.0  # no -0.0
    mean = f'{rounded:+.1f}' if signed else f'{rounded:.1f}'
    if entry['std'] is None:
        return f'{mean} (n={n})'
    return f'{mean} ± {entry["std"]:.1f}'


def format_table(table: dict) -> str:
    """The rows of :func:`~.table.make_table` and, below, how the numbers were made.

    A row: AP of every class, frame-mAP, video-mAP, gain of frame-mAP over source-only, and the
    share of the gap to the oracle that is closed. A row with fewer seeds than the table says how
    many; a row or a seed that is missing is named below.
    """
    rows = table['rows']
    missing: dict[str, list[int]] = {}
    for cell in table['missing']:
        missing.setdefault(cell['row'], []).append(cell['seed'])
    classes = list(dict.fromkeys(name for row in rows.values() for name in row['frame_ap']))
    columns = [*classes, 'frame-mAP', 'video-mAP', 'gain', 'gap closed']
    lines = [f'| | {" | ".join(columns)} |', f'| --- |{" ---: |" * len(columns)}']
    names = [*LABELS, *sorted({*rows, *missing} - set(LABELS))]
    for name in (name for name in names if name in rows or name in missing):
        label = LABELS.get(name) or OTHER_LABELS.get(name, f'`{name}`')
        if name not in rows:
            lines.append(f'| {label} (missing) |{" - |" * len(columns)}')
            continue
        row = rows[name]
        if name in missing or (1 < row['n'] < len(table['seeds'])):
            label += f' (n={row["n"]})'
        gain, gap = row['gain']['frame_map50'], row['gap_closed']
        cells = [format_cell(row['frame_ap'].get(c), row['n']) for c in classes]
        cells += [format_cell(row[metric], row['n']) for metric in ('frame_map50', 'video_map50')]
        cells.append(format_cell(gain, gain['n'] if gain else 0, signed=True))
        cells.append('-' if gap is None else f'{gap:.0f}%')
        lines.append(f'| {label} | {" | ".join(cells)} |')
    return '\n'.join([*lines, '', *_notes(table, missing)]) + '\n'


def _notes(table: dict, missing: dict[str, list[int]]) -> list[str]:
    """What has to be known to read the table."""
    seeds = ', '.join(map(str, table['seeds']))
    frames = 'all frames' if table['background_frames'] else 'annotated frames only'
    notes = [
        f'Percent at IoU 0.5 on {table["dataset"]}, split {table["split"]}; protocol '
        f'`{table["protocol"]}`, {frames}; the last checkpoint of '
        f'{" or ".join(map(str, table["iterations"])) or "the"} iterations; mean ± sample standard '
        f'deviation (n - 1) over the seeds {seeds}. Class columns: frame-AP. Gain: frame-mAP minus '
        "source-only's, seed by seed, in points. Gap closed: (row - source-only) / (oracle - "
        'source-only) of the mean frame-mAPs.'
    ]
    if not table['rows']:
        notes = ['No run is finished yet.']
    settings = [*(table['cfg_options'] or ())]
    settings += ['mixed precision'] if table['amp'] else []
    settings += [f'{table["processes"]} processes'] if (table['processes'] or 1) > 1 else []
    if settings:
        notes += ['', 'Run with ' + ', '.join(f'`{setting}`' for setting in settings) + '.']
    if missing:
        cells = [f'{row} (seed {", ".join(map(str, of))})' for row, of in missing.items()]
        notes += ['', f'**Missing**: {"; ".join(cells)}.']
    return notes
