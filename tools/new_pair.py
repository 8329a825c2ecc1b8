"""Make the rows of a pair of one's own, for train.py and for a whole table.

    python tools/new_pair.py configs/my_pair
    python tools/run_table.py configs/my_pair --seeds 0 1 2 --out work_dirs/table

The folder holds ``_data.py``: the pair's data, schedule and runtime, as in configs/README.md. The
tool adds one config per row: the paper's rows, those with statistics per domain, the oracles, and
MMAction2's detectors. It also begins a README, with the marks between which run_table.py --publish
writes the table, and a metafile.yml. What is there already is kept.
"""

import argparse
import sys
from pathlib import Path

from mmstal_da.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parents[1]
MODELS = {  # our detector -> MMAction2's of the same size
    'i3d_rpn_r50': '',
    'i3d_rpn_r50_torchvision': '',
    'i3d_rpn_r50_scratch': '',
    'i3d_rpn_r50_112px': '_112px',
    'i3d_rpn_r50_narrow': '_narrow',
}
CLASSES = 'dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))'
BASE = f"""\
# What the rows share: the detector, source and target in every batch.
_base_ = ['{{models}}/{{model}}.py', '{{bases}}/adaptation/modules.py', './_data.py']
model = {CLASSES}
"""
ADAPTED = "_base_ = './_base.py'\nmodel = dict(adaptation=_base_.{row})\n"
TRAIN_ON = "_base_ = './_base.py'\ntrain_dataloader = dict(dataset=dict(train_on='{value}'))\n"
PSEUDO = "_base_ = './source_only.py'\ntrain_dataloader = _base_.pseudo\n"
STATISTICS = "_base_ = './{base}.py'\nmodel = dict(domain_norm='target')\n"
AVA_STYLE = "_base_ = './_proposals.py'\nmodel = _base_.{net}{size}\n"
ACRN = "_base_ = './{base}.py'\nmodel = dict(roi_head=dict(shared_head=_base_.{acrn}))\n"
PROPOSALS = f"""\
# For detectors on given proposals (tools/data/dump_proposals.py): the labelled source alone.
_base_ = ['{{models}}/ava_style.py', './_data.py']
model = {CLASSES}
proposals = 'data/proposals/{{name}}.npz'
train_dataloader = dict(dataset=dict(train_on='source', source=dict(proposals=proposals)))
# batch size: MMAction2's AVARoIHead takes no more at test
val_dataloader = test_dataloader = dict(batch_size=1, dataset=dict(proposals=proposals))
"""
LABELLED_BOXES = """\
_base_ = './{net}.py'
train_dataloader = dict(dataset=dict(source=dict(proposals='ground_truth')))
val_dataloader = test_dataloader = dict(dataset=dict(proposals='ground_truth'))
"""
METAFILE = """\
# run_table.py --collect --publish fills it
Collections:
- Name: {name}
  README: configs/{name}/README.md
Models: []
"""
README = """\
# {name}

What the data is, why these classes, and how the two domains differ.

```bash
python tools/run_table.py {folder} --seeds 0 1 2 --out work_dirs/table_{name}
python tools/run_table.py {folder} --seeds 0 1 2 --out work_dirs/table_{name} \\
    --rows dn full_dn oracle_st slowonly slowfast acrn slowonly_gt slowfast_gt acrn_gt
```

<!-- table:begin -->
<!-- table:end -->
"""


def files_of(folder: Path, model: str) -> dict[str, str]:
    """Name -> text of every file of a pair but ``_data.py``.

    Args:
        folder: Of the pair, anywhere below a folder that has ``_base_``.
        model: A key of :data:`MODELS`.

    Raises:
        UsageError: No ``_base_`` in the folders above.
    """
    above = next((p for p in folder.resolve().parents if (p / '_base_').is_dir()), None)
    if above is None:
        raise UsageError(
            f'{folder}: no folder above has `_base_`; put the pair into configs/, or copy or link'
            f' {ROOT / "configs/_base_"} there'
        )
    depth = len(folder.resolve().relative_to(above).parts)
    bases = '../' * depth + '_base_'
    places = dict(bases=bases, models=f'{bases}/models', model=model)
    size = MODELS[model]
    files = {
        '_base.py': BASE.format(**places),
        'source_only.py': TRAIN_ON.format(value='source'),
        'oracle.py': TRAIN_ON.format(value='labelled_target'),
        'oracle_st.py': TRAIN_ON.format(value='source_and_labelled_target'),
        'pseudo.py': PSEUDO,
        'dn.py': STATISTICS.format(base='_base'),
        'full_dn.py': STATISTICS.format(base='full'),
        '_proposals.py': PROPOSALS.format(name=folder.name, **places),
        'README.md': README.format(name=folder.name, folder=folder.as_posix()),
        'metafile.yml': METAFILE.format(name=folder.name),
    }
    for row in ('t_img', 't_inst', 's_img', 't_img_s_img', 't_inst_s_img', 'full'):
        files[f'{row}.py'] = ADAPTED.format(row=row)
    for net in ('slowonly', 'slowfast'):
        files[f'{net}.py'] = AVA_STYLE.format(net=net, size=size)
        files[f'{net}_gt.py'] = LABELLED_BOXES.format(net=net)
    acrn = 'acrn_narrow' if size == '_narrow' else 'acrn'
    for kind in ('', '_gt'):
        files[f'acrn{kind}.py'] = ACRN.format(base=f'slowfast{kind}', acrn=acrn)
    return files


def new_pair(folder: Path, model: str) -> tuple[list[Path], list[Path]]:
    """Write the files that a pair lacks, and check its data.

    Returns:
        Files written, and files kept.

    Raises:
        UsageError: No ``_data.py``, or one that cannot be read.
        ConfigError: The data cannot be right; nothing is written.
    """
    # heavy imports come after the command line is read
    import mmstal_da.registry  # noqa: F401
    from mmstal_da.launch.checks import check_config
    from mmstal_da.launch.config import read_file
    from mmstal_da.utils.io import atomic_write

    if not (folder / '_data.py').is_file():
        raise UsageError(f'{folder}/_data.py does not exist; write it as configs/README.md says')
    data = read_file(str(folder / '_data.py'))
    lacking = [key for key in ('classes', 'test_dataloader', 'test_evaluator', 'train_cfg')
               if not data.get(key)]  # fmt: skip
    if lacking:
        raise UsageError(
            f'{folder}/_data.py lacks {lacking}: a table needs class names, a labelled test of the'
            ' target, and a schedule (../_base_/schedules/…)'
        )
    check_config(data)
    written, kept = [], []
    for name, text in files_of(folder, model).items():
        path = folder / name
        if path.exists():
            kept.append(path)
            continue
        with atomic_write(path) as file:
            file.write(text)
        written.append(path)
    return written, kept


def main(argv: list[str] | None = None) -> int:
    """Write the rows; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='with _data.py in it')
    parser.add_argument(
        '--model', choices=sorted(MODELS), default='i3d_rpn_r50', help='the detector of the rows'
    )
    args = parser.parse_args(argv)
    try:
        written, kept = new_pair(args.folder, args.model)
    except (UsageError, ConfigError, OSError) as error:
        print(f'new_pair.py: {error}', file=sys.stderr)
        return 2
    print(f'{args.folder}: {len(written)} files written')
    if kept:
        print(f'kept as they were: {", ".join(path.name for path in kept)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
