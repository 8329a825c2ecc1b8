"""FLOPs and parameters per part, against formulas of convolutions and linear layers."""

import pytest

from tests.load_tool import load_tool
from tests.model_builders import CONFIGS

pytestmark = pytest.mark.slow
tool = load_tool('analysis_tools/get_flops')


@pytest.fixture(scope='module')
def table() -> dict:
    """Part -> parameters, trainable ones, FLOPs, of the quickstart's full row on 64 x 96."""
    tool.register_all_modules()
    cfg = tool.load_config(str(CONFIGS / 'synthetic/full.py'))
    shape = tool.clip_shape(cfg, [64, 96])
    assert shape == (8, 64, 96)
    model = tool.MODELS.build(cfg.model).eval()
    inputs = tool.inputs_of_parts(model, tool.fake_batch(shape, 30))
    assert not any(part._forward_pre_hooks for part in model.modules())
    return {row[0]: row[1:] for row in tool.count(model, inputs)}


def test_parts_are_those_of_the_detector(table):
    assert list(table) == list(tool.PARTS[key] for key in tool.PARTS if key != 'neck')
    assert table['backbone (SF, key frame)'][3] == '1 x 3 x 64 x 96'
    assert table['clip backbone (TF1)'][3] == '1 x 3 x 8 x 64 x 96'
    assert table['RPN head'][3] == '1 x 256 x 4 x 6'


def test_heads_and_discriminators_are_as_their_formulas(table):
    cells, anchors = 4 * 6, 4 * 3
    rpn = cells * (9 * 256 * 128 + 128 * anchors * 5)  # a 3x3 convolution, two of 1x1
    assert table['RPN head'][2] == rpn
    assert table['RPN head'][0] == 9 * 256 * 128 + 128 + (128 + 1) * anchors * 5
    timg = cells * (208 * 512 + 512)
    assert table['D_Timg'][2] == timg and table['D_Timg'][0] == 208 * 512 + 512 + 512 + 1
    rois = 16
    tinst = rois * (256 * 1024 + 1024 * 1024 + 1024)
    assert table['D_Tinst'][2] == tinst
    assert table['D_Tinst'][3] == '16 x 256'
    # batch norm and the lowest layers are frozen, the rest is trained
    frozen = {part for part, row in table.items() if row[0] != row[1]}
    assert frozen == {'backbone (SF, key frame)', 'clip backbone (TF1)'}


def test_the_shape_is_the_pipelines_or_asked_for(tmp_path):
    cfg = tool.load_config(str(CONFIGS / 'jhmdb_to_ucf101/full.py'))
    assert tool.clip_shape(cfg, None) == (20, 256, 341)
    cfg = tool.load_config(str(CONFIGS / 'synthetic/full.py'))
    cfg.test_dataloader.dataset.data_root = f'{tmp_path}/'
    with pytest.raises(tool.UsageError, match='--shape'):
        tool.clip_shape(cfg, None)
    with pytest.raises(tool.UsageError, match='SampleKeyFrameClip'):
        tool.clip_shape(tool.Config(dict()), None)


def test_frozen_layers_are_not_trainable_and_taps_are_seen(capsys):
    options = [
        'model.backbone.frozen_stages=1', 'model.adaptation.spatial.tap=layer2',
        'model.adaptation.spatial.in_channels=128',
    ]  # fmt: skip
    arguments = [str(CONFIGS / 'synthetic/full.py'), '--shape', '32', '48', '--cfg-options']
    assert tool.main([*arguments, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    (backbone,) = (line.split() for line in lines if 'SF, key frame' in line)
    assert float(backbone[5]) < float(backbone[4])
    (discriminator,) = (line for line in lines if line.strip().startswith('D_S'))
    assert '1 x 128 x 4 x 6' in discriminator
    assert any('with discriminators' in line for line in lines)
