"""Writes tables into a folder, and publishes them with the results in the configs' folder.

``metafile.yml`` of a pair and ``model-index.yml`` of all are as OpenMMLab's tools read them.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from mmstal_da.domains import trained_parts
from mmstal_da.errors import UsageError
from mmstal_da.evaluation.published import Published
from mmstal_da.utils.io import atomic_write, read_json, write_json
from mmstal_da.visualization.bar_plot import plot_bars
from mmstal_da.visualization.curves import save_figure

from .cells import find_changed
from .detections import published_detections
from .record import device_name, read_result
from .rows import find_rows, read_config, row_order
from .table import FRAME, SHOWN, VIDEO, collect, format_table, make_table

PANELS = {FRAME: 'frame-mAP at IoU 0.5 (%)', VIDEO: 'video-mAP at IoU 0.5 (%)'}
BEGIN, END = '<!-- table:begin -->', '<!-- table:end -->'
PAPER = 'Unsupervised Domain Adaptation for Spatio-Temporal Action Localization'
NETWORKS = (
    *('backbone', 'clip_backbone', 'rpn_head'),
    *('roi_head', 'roi_head.shared_head', 'roi_head.bbox_head'),
    *('adaptation.spatial', 'adaptation.temporal_image', 'adaptation.temporal_instance'),
)
TASK = 'Spatio-Temporal Action Localization'


def write_tables(folder: Path, table: dict, records: Sequence[dict]) -> list[Path]:
    """Write ``table.json``, ``table.md`` and, of a table with rows, ``table.png``."""
    files = [folder / name for name in ('table.json', 'table.md', 'table.png')]
    write_json(files[0], table)
    with atomic_write(files[1]) as file:
        file.write(format_table(table))
    if not table['rows']:
        return files[:2]
    values = {label: collect(records, metric) for metric, label in PANELS.items()}
    title = f'{table["pair"]}: mean, sample standard deviation and seeds'
    save_figure(plot_bars(values, title), files[2])
    return files


def publish(
    pair: Path,
    table: dict,
    records: Sequence[dict],
    detections: Mapping[tuple[str, int], Path],
    note: Callable[[str], object] = print,
) -> list[Path]:
    """Put a table and its results into the folder of the configs.

    Writes ``results/<row>_seed<k>.json`` and its detections, ``results/<row>_seed<k>.npz``,
    ``results/table.*``, the table between its marks in ``README.md``, ``metafile.yml``, and
    ``model-index.yml`` in the folder above.

    Args:
        pair: Folder of the pair's configs.
        table: Of :func:`~.table.make_table`.
        records: The results it was made of.
        detections: Row and seed -> file of the run's detections.
        note: Is told what a reader should know, a line at a time.

    Returns:
        The files that were written.

    Raises:
        UsageError: There are no results, the README lacks the marks, or detections are missing or
            do not give the result (:func:`~.detections.published_detections`).
    """
    if not records:
        raise UsageError('--publish: no run is finished')
    readme = pair / 'README.md'
    # refuses before anything is written
    text = insert_table(readme, format_table(without_machine(table)))
    clean, files = [], []
    contents: dict[Path, bytes] = {}
    for record in records:
        result = without_machine(record)
        path = _published_file(pair, record)
        found = _detections_of(record, result, pair, detections, note)
        if found is not None:
            result['detections'] = without_machine(found.facts)
            contents[path.with_suffix('.npz')] = found.content
        clean.append(result)
    for path, content in contents.items():
        with atomic_write(path, 'wb') as file:
            file.write(content)
    for record in clean:
        files.append(_published_file(pair, record))
        write_json(files[-1], record)
    files += [*contents, *write_tables(pair / 'results', without_machine(table), clean)]
    with atomic_write(readme) as file:
        file.write(text)
    return [*files, readme, *write_metafiles(clean, pair)]


def _detections_of(
    record: dict,
    result: dict,
    pair: Path,
    detections: Mapping[tuple[str, int], Path],
    note: Callable[[str], object],
) -> Published | None:
    """What to publish beside a result; None beside one that was published without detections."""
    published = _published_file(pair, record)
    source = detections[record['row'], record['seed']]
    if 'detections' not in record and not source.is_file() and published.is_file():
        if read_json(published) == result:
            note(f'{published.name} was published without detections, and stays so')
            return None
    cfg = read_config(pair / f'{record["row"]}.py', record['cfg_options'])
    return published_detections(result, source, cfg, note)


def insert_table(readme: Path, table: str) -> str:
    """The text of a README with a table between the marks.

    Raises:
        UsageError: It has no or several pairs of marks.
    """
    text = readme.read_text(encoding='utf-8') if readme.is_file() else ''
    pattern = re.compile(f'{re.escape(BEGIN)}.*?{re.escape(END)}', re.DOTALL)
    if len(pattern.findall(text)) != 1 or text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UsageError(
            f'{readme} needs the lines {BEGIN} and {END} once each, where the table is to be'
        )
    return pattern.sub(lambda _: f'{BEGIN}\n\n{table}\n{END}', text)


def published_results(pair: Path) -> list[dict]:
    """The published results of a pair, rows in the paper's order."""
    records = [read_result(path) for path in (pair / 'results').glob('*_seed*.json')]
    return sorted(records, key=lambda record: (row_order(record['row']), record['seed']))


def restore(
    pair: Path,
    out: Path,
    rows: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
) -> tuple[list[Path], list[Path]]:
    """Put published results, with detections, back into a folder of runs; a table goes on there.

    Args:
        pair: Folder of the pair's configs.
        out: Folder of the runs. Cells that it has already stay as they are.
        rows: Only these rows.
        seeds: Only these seeds.

    Returns:
        The ``result.json`` files that were written, and the published files that were left out
        because their config or annotation files are others now.

    Raises:
        UsageError: A published file of detections is missing.
    """
    published = {
        _published_file(pair, record): record
        for record in published_results(pair)
        if (rows is None or record['row'] in rows) and (seeds is None or record['seed'] in seeds)
    }
    changed = find_changed(published, find_rows(pair))
    written = []
    for path, record in published.items():
        folder = out / record['row'] / f'seed{record["seed"]}'
        if path in changed or folder.exists():
            continue
        detections = path.with_suffix('.npz')
        if 'detections' in record and not detections.is_file():
            raise UsageError(
                f'{detections} is missing, which {path.name} names: check it out again'
            )
        folder.mkdir(parents=True)
        if 'detections' in record:
            shutil.copyfile(detections, folder / 'detections.npz')
        write_json(folder / 'result.json', record)
        written.append(folder / 'result.json')
    return written, changed


def _published_file(pair: Path, record: dict) -> Path:
    return pair / 'results' / f'{record["row"]}_seed{record["seed"]}.json'


def without_machine(value):
    """A JSON value without folders of this machine: absolute paths become relative or are cut.

    Paths below the current folder are relative to it; of others the file's name is left.
    """
    if isinstance(value, dict):
        return {without_machine(key): without_machine(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_machine(item) for item in value]
    if not isinstance(value, str):
        return value
    value = value.replace(f'{os.getcwd()}/', '')
    return re.sub(r'(?<![\w:/.~])/(?:[^/\s\'",;\]]+/)+', '.../', value)


def make_metafile(records: Sequence[dict], pair: Path) -> dict:
    """The metafile of a pair, one model per row; percent. No weights: none are published.

    Args:
        records: The published results.
        pair: Folder of the pair's configs.
    """
    table = make_table(records)
    folder = f'configs/{pair.name}'
    models = []
    for row, entry in table['rows'].items():
        of_row = [record for record in records if record['row'] == row]
        metrics = {}
        for metric in SHOWN:
            metrics[metric] = entry[metric] and round(entry[metric]['mean'], 2)
            if entry[metric] and entry[metric]['std'] is not None:
                metrics[f'{metric} std'] = round(entry[metric]['std'], 2)
        hours = sum(record['train']['wall_s'] for record in of_row) / len(of_row) / 3600
        machines = sorted({device_name(record) for record in of_row})
        processes = of_row[0]['processes']
        models.append(
            {
                'Name': f'{pair.name}_{row}',
                'Config': f'{folder}/{row}.py',
                'In Collection': pair.name,
                'Metadata': {
                    'Architecture': architecture_of(pair / f'{row}.py'),
                    'Batch Size': of_row[0]['batch_size'],
                    'Iterations': of_row[0]['iterations'],
                    'Seeds': [str(seed) for seed in entry['seeds']],  # mim takes text only
                    'Training Data': _training_data(pair / f'{row}.py'),
                    'Training Resources': f'{processes} x {" or ".join(machines)}',
                    'Training Time (hours per seed)': round(hours, 3),
                },
                'Modality': 'RGB',
                'Results': [
                    {
                        'Dataset': f'{table["dataset"]}, split {table["split"]}',
                        'Task': TASK,
                        'Metrics': metrics,
                    }
                ],
            }
        )
    collection = {'Name': pair.name, 'README': f'{folder}/README.md', 'Paper': {'Title': PAPER}}
    return {'Collections': [collection], 'Models': models}


def architecture_of(config: Path) -> list[str]:
    """The classes of a config's detector and of its networks (``NETWORKS``), without scopes."""
    model = read_config(config).model
    found = [model]
    for name in NETWORKS:
        part = model
        for key in name.split('.'):
            part = (part or {}).get(key)
        if part:
            found.append(part)
    return [part['type'].rpartition('.')[2] for part in found]


def _training_data(config: Path) -> list[str]:
    """Annotation files of what a config trains on, and whether labels are read."""
    dataset = read_config(config).train_dataloader.dataset
    paired = 'source' in dataset and 'target' in dataset
    found = []
    for name, part in trained_parts(dataset).items() if paired else [('', dataset)]:
        while 'ann_file' not in part and 'dataset' in part:
            part = part['dataset']
        labels = 'labelled' if part.get('labelled', True) else 'unlabelled'
        labels = 'pseudo-labelled' if name == 'pseudo_target' else labels
        file = Path(part.get('data_root') or '', part.get('ann_file', '?'))
        found.append(f'{file.parent.name}/{file.name} ({labels})')
    return found


def write_metafiles(records: Sequence[dict], pair: Path) -> list[Path]:
    """Write the pair's metafile, and the index of all pairs' in the folder above."""
    metafile, index = pair / 'metafile.yml', pair.parent / 'model-index.yml'
    _write_yaml(metafile, make_metafile(records, pair))
    found = sorted(path.relative_to(pair.parent) for path in pair.parent.glob('*/metafile.yml'))
    _write_yaml(index, {'Import': [path.as_posix() for path in found]})
    return [metafile, index]


def _write_yaml(path: Path, content: dict) -> None:
    with atomic_write(path) as file:
        file.write('# written by tools/run_table.py --collect --publish\n')
        yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True, width=100)
