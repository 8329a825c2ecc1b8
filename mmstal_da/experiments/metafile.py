"""``metafile.yml`` of a pair and ``model-index.yml`` of all, as OpenMMLab's tools read them."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from mmstal_da.domains import trained_parts
from mmstal_da.utils.io import atomic_write

from .cells import read_config
from .record import machine_of
from .table import make_table

PAPER = 'Unsupervised Domain Adaptation for Spatio-Temporal Action Localization'
NETWORKS = (
    'backbone',
    'clip_backbone',
    'rpn_head',
    'roi_head',
    'roi_head.shared_head',
    'roi_head.bbox_head',
    'adaptation.spatial',
    'adaptation.temporal_image',
    'adaptation.temporal_instance',
)
TASK = 'Spatio-Temporal Action Localization'


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
        for name, metric in (('frame-mAP@0.5', 'frame_map50'), ('video-mAP@0.5', 'video_map50')):
            metrics[name] = round(entry[metric]['mean'], 2)
            if entry[metric]['std'] is not None:
                metrics[f'{name} std'] = round(entry[metric]['std'], 2)
        hours = sum(record['train']['wall_s'] for record in of_row) / len(of_row) / 3600
        machines = sorted({machine_of(record) for record in of_row})
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
    for part in trained_parts(dataset).values() if paired else [dataset]:
        while 'ann_file' not in part and 'dataset' in part:
            part = part['dataset']
        labels = 'labelled' if part.get('labelled', True) else 'unlabelled'
        name = Path(part.get('data_root') or '', part.get('ann_file', '?'))
        found.append(f'{name.parent.name}/{name.name} ({labels})')
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
