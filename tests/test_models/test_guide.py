"""The guide "Parts of your own" of mmstal_da/models/README.md, followed to the letter."""

import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmstal_da.register import register_all_modules
from mmstal_da.registry import DATASETS, HOOKS, MODELS
from mmstal_da.synthetic import PRESETS, generate
from mmstal_da.tubes.annotation import load_annotation
from tests.load_tool import run_tool
from tests.model_builders import FROM_RANDOM_WEIGHTS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'mmstal_da/models/README.md').read_text().split('## Parts of your own')[1]
FILES = dict(re.findall(r'```python\n# ((?:my_parts|configs)/\w+\.py)\n(.*?)```', TEXT, re.DOTALL))
CONFIGS = sorted(name for name in FILES if name.startswith('configs/'))
# one iteration of the narrow network, narrower still; the backbone of one's own is narrow
SMALL = {
    'train_cfg.max_iters': 1,
    'param_scheduler': '[]',
    'model.backbone.base_channels': 8,
    **{f'model.{key}': 'None' for key in FROM_RANDOM_WEIGHTS},
    'model.backbone.stem_channels': 8,
    'model.rpn_head.in_channels': 128,
    'model.rpn_head.feat_channels': 16,
    'model.rpn_head.anchor_generator.scales': '[1,2,3]',
    'train_dataloader.batch_size': 1,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'default_hooks.logger.interval': 1,
    'log_processor.window_size': 1,
}
SMALL_I3D = {
    'model.clip_backbone.width': 0.1,
    'model.roi_head.bbox_roi_extractor.out_channels': 84,
    'model.roi_head.shared_head.width': 0.1,
    'model.roi_head.bbox_head.in_channels': 102,
}


def test_every_snippet_is_a_file_that_is_run():
    assert len(FILES) == TEXT.count('```python') == 11
    assert len(CONFIGS) == 5
    modules = {Path(name).stem for name in FILES if name.startswith('my_parts/')}
    assert set(re.findall(r'import (.+)', FILES['my_parts/__init__.py'])[0].split(', ')) == (
        modules - {'__init__', 'ramps'}
    )


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A folder with the guide's files, beside the configs and the tiny synthetic pair."""
    folder = tmp_path_factory.mktemp('guide')
    (folder / 'configs').mkdir()
    for path in (ROOT / 'configs').iterdir():
        (folder / 'configs' / path.name).symlink_to(path)
    (folder / 'my_parts').mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    generate(folder / 'data/synthetic', PRESETS['tiny'])
    annotation = load_annotation(folder / 'data/synthetic/source.json')
    lines = [
        f'{annotation.videos[name].path},{frame},{",".join(map(str, box))},{tube.label}\n'
        for name in annotation.splits['train']
        for tube in annotation.tubes[name]
        for frame, box in zip(tube.frames, tube.boxes.tolist(), strict=True)
    ]
    (folder / 'data/my_boxes.csv').write_text(''.join(lines))
    before = [(node, dict(node._module_dict)) for node in (MODELS, DATASETS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    for name in [name for name in sys.modules if name.partition('.')[0] == 'my_parts']:
        del sys.modules[name]
    for node, classes in before:
        node._module_dict.clear()
        node._module_dict.update(classes)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_of_the_guide_trains(name, checkout):
    options = SMALL if name.endswith('backbone.py') else SMALL | SMALL_I3D
    options = [f'{key}={value}' for key, value in options.items()]
    work = checkout / 'work' / Path(name).stem
    output = run_tool(
        'train', name, '--work-dir', work, '--seed', '0', '--no-validate', '--cfg-options',
        *options, folder=checkout,
    )  # fmt: skip
    state = torch.load(work / 'iter_1.pth', weights_only=False)['state_dict']
    (line,) = re.findall(r'Iter\(train\) \[1/1\].*', output)
    for loss in ('loss_cls', 'loss_da_spatial', 'loss_da_timg', 'loss_da_tinst'):
        assert re.search(rf' {loss}: \d', line), line
    shows = {
        'my_discriminator': 'loss_da_distance' in line
        and 'adaptation.temporal_image.conv.weight' in state,
        'my_backbone': 'clip_backbone.layers.3.conv.weight' in state,
        'my_schedule': True,  # see below
        'my_detector': re.search(r'loss_small: \d', line),
        'my_dataset': True,  # the class is named in the config, and there is no other source
    }
    assert shows[Path(name).stem], line


def test_the_schedule_of_the_guide(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    hook = HOOKS.build(Config.fromfile('configs/my_schedule.py').default_hooks.adaptation_weight)
    assert [hook.weight_at(iteration, 100) for iteration in (0, 29, 30, 99)] == [0, 0, 0.1, 0.1]


def test_the_target_of_a_dataset_of_ones_own_has_no_labels(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    register_all_modules()
    cfg = Config.fromfile('configs/my_dataset.py')
    pair = dict(cfg.train_dataloader.dataset, target=cfg.train_dataloader.dataset.source)
    item = DATASETS.build(pair)[0]
    assert len(item['source']['data_samples'].gt_instances.bboxes)
    assert 'gt_instances' not in item['target']['data_samples']
