"""A pair whose training takes a moment: for tests of what surrounds the training."""

import json
from pathlib import Path

from mmstal_da.experiments.record import FORMAT, VERSION, VIDEO_IOUS
from tests.load_tool import load_tool

ROOT = Path(__file__).resolve().parents[2]
ITERS = 4

CONFIG = f"""
model = dict(type='Made up', row='{{row}}')
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        source=dict(ann_file='s.json', data_root='data/x/'),
        target=dict(ann_file='t.json', data_root='data/x/', labelled=False),
    ),
)
train_cfg = dict(max_iters={ITERS})
test_evaluator = dict(type='TubeMetric', background_frames=False)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1000)
)
"""

# fails where the work dir's row is in FAIL; the score is a function of row and seed
TRAIN = f"""
import os, sys, time
from pathlib import Path
argv = sys.argv
folder = Path(argv[argv.index('--work-dir') + 1])
row, seed = Path(argv[1]).stem, int(argv[argv.index('--seed') + 1])
assert row == folder.parent.name and f'seed{{seed}}' == folder.name
print('train', row, seed, 'threads', os.environ.get('OMP_NUM_THREADS'), flush=True)
time.sleep(float(os.environ.get('SLEEP', 0)))
if row in os.environ.get('FAIL', '').split():
    sys.exit('made to fail')
(folder / 'iter_{ITERS}.pth').write_text(f'{{row}} {{seed}}')
(folder / 'last_checkpoint').write_text(str(folder / 'iter_{ITERS}.pth'))
"""
TEST = """
import json, sys
from pathlib import Path
argv = sys.argv
folder = Path(argv[argv.index('--work-dir') + 1]) / 'now'
folder.mkdir(parents=True)
row, seed = Path(argv[2]).read_text().split()
score = 5.0 * len(row) + int(seed)
metrics = {f'video_mAP@{iou}': score / 2 for iou in ('0.2', '0.5', '0.75', '0.5:0.95')}
metrics |= {'frame_mAP@0.5': score, 'frame_AP@0.5/run': score, 'video_AP@0.5/run': score / 2}
metrics |= {'protocol': 'act', 'dataset': 'made up', 'split': 'test', 'n_frames': None}
(folder / 'now.json').write_text(json.dumps(metrics))
"""
# of either tool that makes what other rows read; appends, so that a second run of it is noticed
DUMP = """
import os, sys, time
from pathlib import Path
print('dump', *sys.argv[1:], flush=True)
time.sleep(float(os.environ.get('SLEEP', 0)))
(checkpoint,) = (word for word in sys.argv if word.endswith('.pth'))
row, seed = Path(checkpoint).read_text().split()
out = Path(sys.argv[sys.argv.index('--out') + 1])
with open(out, 'a') as file:
    file.write(f'{out.stem} of {row} {seed}\\n')
"""

# what a row's config has beside CONFIG: an AVA-style row's, to be formatted with a file, and one's
# that learns pseudo-tubes
READS = """
train_dataloader['dataset']['source'].update(type='ActionTubeDataset', proposals='{file}')
test_dataloader = dict(dataset=dict(type='ActionTubeDataset', proposals='{file}'))
"""
LEARNS = """
train_dataloader['dataset'].update(train_on='source_and_pseudo')
train_dataloader['dataset']['target'].update(ann_file='pseudo.json')
"""


def make_pair(folder: Path, *rows: str) -> Path:
    """A folder of configs, and of a README with the marks of the table."""
    folder.mkdir(parents=True)
    for row in rows:
        (folder / f'{row}.py').write_text(CONFIG.format(row=row))
    (folder / '_base.py').write_text('')
    (folder / 'README.md').write_text('# A\n\n<!-- table:begin -->\n<!-- table:end -->\n\nB\n')
    return folder


def load_main():
    """``main`` of tools/run_table.py."""
    main = load_tool('run_table').main
    return lambda *args: main([str(arg) for arg in args])


def starts(out: Path) -> list[str]:
    """What was trained in a folder, one line per start."""
    logs = sorted(out.glob('*/seed*/train.log'))
    return [line for log in logs for line in log.read_text().splitlines() if line[:6] == 'train ']


def files_of(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file with its time and content."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def make_record(row: str, seed: int, frame: float, video: float, **changes) -> dict:
    """A result with these mAPs; one class, whose AP is the mAP."""
    metrics = {
        'frame_mAP@0.5': frame,
        **dict.fromkeys((f'video_mAP@{iou}' for iou in VIDEO_IOUS), video),
        'frame_AP@0.5': {'run': frame},
        'video_AP@0.5': {'run': video},
        **{'protocol': 'act', 'dataset': 'made up', 'split': 'test', 'background_frames': True},
    }
    record = {
        'format': FORMAT,
        'version': VERSION,
        'pair': 'p',
        'row': row,
        'seed': seed,
        'config': f'configs/p/{row}.py',
        'config_sha256': '0',
        'data': {'/data/x/s.json': '1'},
        **{'cfg_options': [], 'amp': False, 'processes': 1},
        'iterations': ITERS,
        'batch_size': 2,
        'metrics': metrics,
        'train': {'wall_s': 8.0, 'cpu_s': 7.0, 'starts': 1, 'seconds_per_iteration': 2.0},
        'test': {'wall_s': 3.0, 'cpu_s': 2.0, 'starts': 1},
        **{'commit': 'abc', 'dirty': False},
        'environment': {'cpu': 'a cpu', 'gpu': None, 'jobs': 2},
    }
    return json.loads(json.dumps({**record, **changes}))
