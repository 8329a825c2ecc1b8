"""A checkpoint that is not what it is taken for is refused by name; no test scores it."""

import copy

import pytest
import torch
from mmengine.config import Config

from mmstal_da.errors import CheckpointError, OutputError, UsageError
from mmstal_da.launch.checkpoints import check_checkpoint, check_fit, weights_of
from tests.faults.tiny_pair import run
from tests.model_builders import build_detector, module_configs, plain_batch


@pytest.fixture(scope='module')
def state() -> dict[str, torch.Tensor]:
    return build_detector().state_dict()


def save(folder, content, name='iter_2.pth') -> str:
    torch.save(content, folder / name)
    return str(folder / name)


def test_a_sound_one_passes(state, tmp_path):
    path = save(tmp_path, dict(state_dict=state, meta=dict(iter=2)))
    assert check_checkpoint(path) == path
    assert check_checkpoint('https://somewhere/x.pth') == 'https://somewhere/x.pth'
    with pytest.raises(UsageError, match=r'absent\.pth does not exist'):
        check_checkpoint(str(tmp_path / 'absent.pth'))


@pytest.mark.parametrize('share', [0, 0.001, 0.5, 0.999])
def test_a_truncated_one_is_named(share, state, tmp_path):
    path = tmp_path / 'iter_2.pth'
    save(tmp_path, dict(state_dict=state))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        CheckpointError, match=r'iter_2\.pth cannot be read, it is truncated or'
    ) as e:
        check_checkpoint(str(path))
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('content', [{}, dict(state_dict={}), dict(meta=dict(iter=3)), [1, 2], 'x'])
def test_one_without_weights_is_named(content, tmp_path):
    with pytest.raises(CheckpointError, match=r'iter_2\.pth (has no weights|holds a)'):
        check_checkpoint(save(tmp_path, content))


def test_a_text_file_is_named(tmp_path):
    (tmp_path / 'iter_2.pth').write_text('<html>not found</html>')
    with pytest.raises(CheckpointError, match=r'iter_2\.pth cannot be read'):
        check_checkpoint(str(tmp_path / 'iter_2.pth'))


@pytest.mark.slow
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('key', ['backbone.bn1.running_var', 'roi_head.bbox_head.fc_cls.bias'])
def test_one_that_is_not_finite_is_named(key, value, state, tmp_path):
    state = copy.deepcopy(state)
    state[key].view(-1)[-1] = value
    with pytest.raises(CheckpointError, match=rf'iter_2\.pth: {key} is {abs(value)}; .* diverged'):
        check_checkpoint(save(tmp_path, dict(state_dict=state)))


@pytest.mark.slow
def test_one_of_another_model_is_refused(state):
    model = build_detector()
    check_fit(state, model, 'x.pth')
    few = {key: value for key, value in state.items() if 'layer3' not in key}
    with pytest.raises(CheckpointError, match=r'x\.pth is of another model .* are missing \(backb'):
        check_fit(few, model, 'x.pth')
    with pytest.raises(CheckpointError, match=r'1 are unexpected \(more\)'):
        check_fit({**state, 'more': torch.ones(1)}, model, 'x.pth')
    wrong = {**state, 'roi_head.bbox_head.fc_cls.weight': torch.ones(8, 102)}
    with pytest.raises(CheckpointError, match=r'fc_cls.weight \(8, 102\) instead of \(4, 102\)'):
        check_fit(wrong, model, 'x.pth')


@pytest.mark.slow
def test_other_norms_are_another_model(state):
    """Statistics per domain: MMEngine loads either into the other, and tests it."""
    per_domain = build_detector(domain_norm='target')
    with pytest.raises(CheckpointError, match='no statistics per domain: test it with .*=None'):
        check_fit(state, per_domain, 'x.pth')
    with pytest.raises(CheckpointError, match="It has statistics per domain: .*='target'"):
        check_fit(per_domain.state_dict(), build_detector(), 'x.pth')
    grouped = {'backbone.norm_cfg.type': 'GN', 'backbone.norm_cfg.num_groups': 2}
    with pytest.raises(CheckpointError, match='is of another model'):
        check_fit(state, build_detector(**grouped), 'x.pth')


@pytest.mark.slow
def test_a_test_does_without_discriminators(state):
    adapted = build_detector(module_configs())
    check_fit(adapted.state_dict(), build_detector(), 'x.pth', ('adaptation.',))
    check_fit(state, adapted, 'x.pth', ('adaptation.',))
    with pytest.raises(CheckpointError, match='are missing'):  # but resuming does not
        check_fit(state, adapted, 'x.pth')


def test_counters_of_older_checkpoints_may_be_missing(state):
    old = {key: value for key, value in state.items() if not key.endswith('num_batches_tracked')}
    check_fit(old, build_detector(), 'x.pth')
    assert weights_of({'module.a': torch.ones(1)}, 'x').keys() == {'a'}


@pytest.mark.slow
@pytest.mark.parametrize('part', ['backbone', 'clip_backbone', 'rpn_head', 'roi_head.bbox_head'])
def test_outputs_that_are_not_finite_are_no_empty_result(part):
    """Finite weights, but too large: NMS would drop every NaN, and nothing found is an mAP of 0."""
    detector = build_detector().eval()
    with torch.no_grad():
        for parameter in detector.get_submodule(part).parameters():
            parameter.mul_(1e38)
    data = detector.data_preprocessor(plain_batch(n=1), False)
    with torch.no_grad(), pytest.raises(OutputError, match='not finite.* diverged'):
        detector(**data, mode='predict')


@pytest.mark.slow
def test_no_tool_scores_or_trains_on_one(rows, tmp_path):
    """One sentence with the file's name, exit status 2, no traceback, and no metric."""
    config = rows / 'full.py'
    flags = (
        '--work-dir',
        tmp_path / 'run',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_iters=1',
    )
    assert run('train', config, *flags).returncode == 0
    good = torch.load(tmp_path / 'run/iter_1.pth')
    bad = copy.deepcopy(good)
    bad['state_dict']['backbone.conv1.weight'].fill_(float('nan'))
    other = copy.deepcopy(good)
    other['state_dict'] = {k: v for k, v in good['state_dict'].items() if '.bn' not in k}
    paths = {
        'truncated': tmp_path / 'truncated.pth',
        'nan': save(tmp_path, bad, 'nan.pth'),
        'other': save(tmp_path, other, 'other.pth'),
    }
    whole = (tmp_path / 'run/iter_1.pth').read_bytes()
    paths['truncated'].write_bytes(whole[: len(whole) // 2])
    for name, path in paths.items():
        for tool, arguments in (
            ('test', (config, path, '--work-dir', tmp_path / 'test')),
            (
                'train',
                (config, '--resume', path, '--work-dir', tmp_path / 'again', '--no-validate'),
            ),
        ):
            ended = run(tool, *arguments)
            assert ended.returncode == 2, (tool, name, ended.stderr[-2000:])
            last = ended.stderr.strip().splitlines()[-1]
            assert last.startswith(f'{tool}.py: error: checkpoint {path}'), last
            assert 'Traceback' not in ended.stderr and 'mAP' not in ended.stdout
    assert not list((tmp_path / 'again').glob('*.pth'))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(model=dict(type='NoSuchDetector')), 'NoSuchDetector'),
        (dict(model=dict(backbone=dict(no_such_key=1))), 'no_such_key'),
        (dict(optim_wrapper=dict(optimizer=dict(no_such_key=1))), 'no_such_key'),
        (dict(train_dataloader=dict(sampler=dict(type='DefaultSampler'))), 'DrawTrainLoop needs'),
        (dict(model=dict(domain_norm='target', backbone=dict(norm_cfg=dict(type='SyncBN')))),
         r'SyncBatchNorm'),
        (dict(model=dict(adaptation=dict(spatial=dict(loss=None)))), 'loss'),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_built_is_one_sentence(change, words, rows, tmp_path):
    cfg = Config.fromfile(rows / 'full.py')
    cfg.merge_from_dict(change)
    cfg.dump(tmp_path / 'x.py')
    flags = (tmp_path / 'x.py', '--work-dir', tmp_path / 'run', '--no-validate')
    ended = run('train', *flags)
    assert ended.returncode == 2, ended.stderr[-2000:]
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith('train.py: error: ') and words in last
    assert 'Traceback' not in ended.stderr
    if words == 'NoSuchDetector':
        ended = run('train', *flags, MMSTAL_DA_DEBUG='1')
        assert ended.returncode == 1 and 'Traceback' in ended.stderr
