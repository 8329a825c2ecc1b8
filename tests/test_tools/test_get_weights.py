"""get_weights.py says what is wrong and leaves nothing behind."""

import pytest
import torch

from mmstal_da.pretrained.checkpoint import reference_state
from tests.load_tool import load_tool


@pytest.fixture()
def get_weights(capsys):
    """The tool's exit code, output and complaints for some arguments."""
    tool = load_tool('get_weights')

    def run(*arguments):
        code = tool.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture()
def port_file(tmp_path):
    path = tmp_path / 'rgb_imagenet.pt'
    torch.save(reference_state('i3d_kinetics400'), path)
    return path


def test_a_file_that_is_not_the_published_one_is_refused(get_weights, port_file, tmp_path):
    out = tmp_path / 'weights'
    code, _, complaint = get_weights('i3d_kinetics400', '--file', port_file, '--out', out)
    assert code == 1
    assert 'rgb_imagenet.pt: its git checksum is' in complaint
    assert not out.exists()


@pytest.mark.slow
def test_a_checkpoint_that_is_there_is_checked(get_weights, port_file, tmp_path):
    out = tmp_path / 'weights'
    out.mkdir()
    state = torch.load(port_file, weights_only=True)
    checkpoint = dict(state_dict=state, meta=dict(source='somewhere'))
    torch.save(checkpoint, out / 'i3d_kinetics400.pth')
    code, said, complaint = get_weights('i3d_kinetics400', '--out', out)
    assert code == 0
    assert 'exists already, from somewhere' in said
    del state['Mixed_3b.b0.conv3d.weight']
    torch.save(checkpoint, out / 'i3d_kinetics400.pth')
    code, said, complaint = get_weights('i3d_kinetics400', '--out', out)
    assert code == 1
    assert 'missing: Mixed_3b.b0.conv3d.weight' in complaint
    assert '--overwrite' in complaint
