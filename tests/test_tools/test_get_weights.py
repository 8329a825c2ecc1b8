"""get_weights.py says what is wrong and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmstal_da.pretrained import reference_state

TOOL = Path(__file__).parents[2] / 'tools' / 'get_weights.py'


def get_weights(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture()
def port_file(tmp_path):
    path = tmp_path / 'rgb_imagenet.pt'
    torch.save(reference_state('i3d_kinetics400'), path)
    return path


def test_a_file_that_is_not_the_published_one_is_refused(port_file, tmp_path):
    out = tmp_path / 'weights'
    done = get_weights('i3d_kinetics400', '--file', port_file, '--out', out)
    assert done.returncode == 1
    assert 'rgb_imagenet.pt: its git checksum is' in done.stderr
    assert not out.exists()


def test_a_checkpoint_that_is_there_is_checked(port_file, tmp_path):
    out = tmp_path / 'weights'
    out.mkdir()
    state = torch.load(port_file, weights_only=True)
    checkpoint = dict(state_dict=state, meta=dict(source='somewhere'))
    torch.save(checkpoint, out / 'i3d_kinetics400.pth')
    done = get_weights('i3d_kinetics400', '--out', out)
    assert done.returncode == 0
    assert 'is there already, from somewhere' in done.stdout
    del state['Mixed_3b.b0.conv3d.weight']
    torch.save(checkpoint, out / 'i3d_kinetics400.pth')
    done = get_weights('i3d_kinetics400', '--out', out)
    assert done.returncode == 1
    assert 'missing: Mixed_3b.b0.conv3d.weight' in done.stderr
    assert '--overwrite' in done.stderr
