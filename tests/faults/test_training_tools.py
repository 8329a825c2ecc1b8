"""What the tools say and leave behind when a training or a test cannot go on."""

import json

import pytest
import torch

from tests.faults.tiny_pair import run
from tests.load_tool import load_tool

LR = 'optim_wrapper.optimizer.lr'


@pytest.mark.slow
def test_a_diverging_training_fails_and_keeps_what_was_good(rows, tmp_path):
    """The first report: exit 0, the last good checkpoint deleted, and an mAP of 0 in the table."""
    options = (f'{LR}=1e30', 'param_scheduler=None', 'default_hooks.checkpoint.max_keep_ckpts=1')
    flags = ('--work-dir', tmp_path, '--no-validate', '--cfg-options', *options)
    ended = run('train', rows / 'full.py', *flags)
    assert ended.returncode == 1
    (sentence,) = ended.stderr.strip().splitlines()[-1:]
    assert sentence.startswith('train.py: error: training stopped at iteration ')
    for word in ('loss is nan', 'source_train_', ' frame ', 'The last checkpoint is', 'iter_'):
        assert word in sentence, word
    assert 'Traceback' not in ended.stderr
    (checkpoint,) = tmp_path.glob('iter_*.pth')
    state = torch.load(checkpoint)['state_dict']
    assert all(torch.isfinite(value.float()).all() for value in state.values())


@pytest.mark.slow
def test_a_table_says_failed(rows, tmp_path):
    options = (f'{LR}=1e30', 'param_scheduler=None')
    out = tmp_path / 'out'
    main = load_tool('run_table').main
    arguments = [rows, '--rows', 'source_only', '--seeds', 0, '--out', out]
    assert main([*map(str, arguments), '--cfg-options', *options]) == 1
    table = json.loads((out / 'table.json').read_text())
    assert table['rows'] == {} and table['missing'] == []
    (failed,) = table['failed']
    assert (failed['row'], failed['seed']) == ('source_only', 0)
    assert 'training stopped at iteration 2: ' in failed['why']
    text = (out / 'table.md').read_text()
    assert '(**FAILED**)' in text and '**FAILED**: source_only seed 0: train ended with' in text
    assert not list(out.glob('*/seed0/result.json'))
