"""The upstream workarounds: needed, sufficient, and no wider than they say."""

import importlib.util
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope

from mmstal_da import compat
from tests.tiny_runner import make_runner


def test_resume_reads_what_mmengine_saves(tmp_path):
    make_runner(tmp_path, 4, dict(save_best='score', rule='greater')).train()
    path = tmp_path / 'iter_4.pth'
    checkpoint = torch.load(path, weights_only=True)
    scalars = checkpoint['message_hub']['log_scalars']
    assert isinstance(scalars['train/loss'], HistoryBuffer)
    assert isinstance(checkpoint['message_hub']['runtime_info']['best_score'], np.floating)

    runner = make_runner(tmp_path, 6, {}, resume=True)
    runner.train()
    assert runner.iter == 6
    assert (tmp_path / 'iter_6.pth').is_file()


def test_without_the_workaround_torch_refuses(tmp_path):
    """The day this fails the workaround can go."""
    make_runner(tmp_path, 2, {}).train()
    trusted = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with pytest.raises(pickle.UnpicklingError, match=r'HistoryBuffer|numpy'):
            torch.load(tmp_path / 'iter_2.pth', weights_only=True)
    finally:
        torch.serialization.add_safe_globals(trusted)


def test_other_globals_stay_refused(tmp_path):
    """The check stays on: a checkpoint that would run code is not loaded."""

    class Exploit:
        def __reduce__(self):
            return print, ('run',)

    path = tmp_path / 'exploit.pth'
    torch.save(dict(meta=Exploit()), path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)


def test_getattr_reaches_statistics_only(tmp_path):
    """The stand-in for ``getattr`` hands out nothing that a checkpoint could abuse."""

    class Reach:
        def __init__(self, *args):
            self.args = args

        def __reduce__(self):
            return getattr, self.args

    path = tmp_path / 'reach.pth'
    torch.save(Reach(HistoryBuffer, 'mean'), path)
    assert torch.load(path) is HistoryBuffer.mean
    for args in ((HistoryBuffer, '__init__'), (np.ndarray, 'mean'), (torch.Tensor, 'mean')):
        torch.save(Reach(*args), path)
        with pytest.raises(pickle.UnpicklingError, match='not a statistic'):
            torch.load(path)


@pytest.mark.parametrize('code', '?bBhHiIlLqQefdg')
def test_every_plain_number_is_read(tmp_path, code):
    values = np.array([0, 1], dtype=code)
    path = tmp_path / 'values.pth'
    torch.save(dict(array=values, scalar=values[1]), path)
    loaded = torch.load(path, weights_only=True)
    assert loaded['array'].dtype == values.dtype
    assert loaded['array'].tolist() == values.tolist()
    assert loaded['scalar'] == values[1]


def test_applying_twice_changes_nothing():
    before = torch.serialization.get_safe_globals()
    stand_in = sys.modules.get('mmaction.models.localizers.drn.drn')
    compat.apply()
    assert set(torch.serialization.get_safe_globals()) == set(before)
    assert sys.modules.get('mmaction.models.localizers.drn.drn') is stand_in


@pytest.mark.slow
def test_models_of_mmaction_and_mmdet_import_and_no_registry_is_missing(capfd):
    """In a fresh process, as the tools do it.

    MMDetection's anchors come from TASK_UTILS; MMEngine warned that this scope has none.
    """
    code = (
        'import mmstal_da.compat; import mmaction.models, mmdet.models;'
        'from mmstal_da.register import register_all_modules; register_all_modules();'
        'from mmdet.registry import TASK_UTILS; from mmengine.registry import TASK_UTILS as ROOT;'
        "ROOT.build(dict(type='mmdet.AnchorGenerator', scales=[1], ratios=[1.0], strides=[16]));"
        "TASK_UTILS.build(dict(type='AnchorGenerator', scales=[1], ratios=[1.0], strides=[16]))"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
    captured = capfd.readouterr()
    assert 'Failed to search registry' not in captured.out + captured.err


def drn_is_missing() -> bool:
    folder = Path(importlib.util.find_spec('mmaction').submodule_search_locations[0])
    return not (folder / 'models' / 'localizers' / 'drn' / 'drn.py').is_file()


def test_drn_stand_in_only_where_missing():
    assert compat.provide_drn() == drn_is_missing()


@pytest.mark.skipif(not drn_is_missing(), reason='this MMAction2 has the DRN localizer')
def test_building_drn_says_why_not():
    import mmaction.models  # noqa: F401  (registers the stand-in)
    from mmaction.registry import MODELS

    with pytest.raises(ImportError, match='issues/2714'):
        MODELS.build(dict(type='mmaction.DRN'))


@pytest.mark.slow
def test_drn_of_a_whole_mmaction_is_left_alone(tmp_path):
    """A made-up mmaction that holds the package: nothing is put in its place."""
    drn = tmp_path / 'mmaction' / 'models' / 'localizers' / 'drn'
    drn.mkdir(parents=True)
    for folder in (drn, drn.parent, drn.parent.parent, drn.parent.parent.parent):
        (folder / '__init__.py').touch()
    (drn / 'drn.py').write_text("DRN = 'upstream'\n")
    code = (
        f'import sys; sys.path.insert(0, {str(tmp_path)!r});'
        'from mmstal_da import compat; assert not compat.provide_drn();'
        "from mmaction.models.localizers.drn.drn import DRN; assert DRN == 'upstream'"
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_heads_take_bfloat16_scores():
    """And give the losses that the same scores give in float32."""
    compat.accept_bfloat16_scores()
    compat.accept_bfloat16_scores()
    from mmaction.models.heads import OmniHead, RGBPoseHead, TSNHead
    from mmaction.structures import ActionDataSample

    scores = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    samples = [ActionDataSample().set_gt_label(label) for label in (1, 2)]
    labels = torch.tensor([1, 2])
    expected = torch.nn.functional.cross_entropy(scores.float(), labels)
    loss = dict(loss_cls=dict(type='mmaction.CrossEntropyLoss'))
    for head in TSNHead(6, 2, **loss), OmniHead(6, 6, 2, **loss):
        assert torch.equal(head.loss_by_feat(scores, samples)['loss_cls'], expected)
    head = RGBPoseHead(6, [2, 2], **loss)
    assert torch.equal(head.loss_by_scores(scores, labels)['loss_cls'], expected)


@pytest.mark.parametrize('frames', [1, 2, 3, 4])
@pytest.mark.parametrize(('kernel', 'stride'), [(3, 1), (5, 1), (3, 2)])
def test_bfloat16_gradients_of_short_clips(frames, kernel, stride):
    """The gradients of the same convolution in float32, to bfloat16's accuracy."""
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(
        32, 32, (kernel, 3, 3), (stride, 1, 1), (kernel // 2, 1, 1), bias=False
    ).bfloat16()
    clip = torch.randn(2, 32, frames, 6, 8).bfloat16().requires_grad_()
    precise = torch.nn.Conv3d(
        32, 32, (kernel, 3, 3), (stride, 1, 1), (kernel // 2, 1, 1), bias=False
    )
    precise.weight.data = conv.weight.detach().float()
    precise_clip = clip.detach().float().requires_grad_()

    output, precise_output = conv(clip), precise(precise_clip)
    gradient = torch.randn_like(output)
    output.backward(gradient)
    precise_output.backward(gradient.float())
    for value, expected in (
        (output, precise_output),
        (clip.grad, precise_clip.grad),
        (conv.weight.grad, precise.weight.grad),
    ):
        assert value.shape == expected.shape
        error = (value.float() - expected).abs().max() / expected.abs().max()
        assert error < 0.02


def test_other_convolutions_are_left_alone(monkeypatch):
    """Only a clip shorter than the kernel in bfloat16 is padded here."""
    padded = []
    pad = torch.nn.functional.pad
    monkeypatch.setattr(torch.nn.functional, 'pad', lambda *args: padded.append(1) or pad(*args))
    conv = torch.nn.Conv3d(2, 2, 3, padding=1)
    clip = torch.randn(1, 2, 2, 4, 4)
    plain = torch.nn.functional.conv3d(clip, conv.weight, conv.bias, padding=1)
    assert torch.equal(conv(clip), plain)
    assert not padded
    with torch.autocast('cpu', dtype=torch.bfloat16):
        conv(torch.randn(1, 2, 3, 4, 4))
        assert not padded
        assert conv(clip).shape == plain.shape
    assert padded


def test_ava_ap_of_a_class_without_ground_truth_is_nan():
    """As on NumPy 1; on NumPy 2 it was an AttributeError."""
    from mmaction.evaluation.functional.ava_evaluation.metrics import (
        compute_average_precision,
        compute_precision_recall,
    )

    precision, recall = compute_precision_recall(np.array([0.5]), np.array([False]), 0)
    assert np.isnan(compute_average_precision(precision, recall))


def test_average_recall_of_proposals():
    """One video with two right proposals: recall is 0 below half of them, 1 from there on."""
    from mmaction.evaluation.functional.accuracy import average_recall_at_avg_proposals

    segment = np.array([[0.0, 10.0]])
    proposals = np.array([[0.0, 10.0, 0.9], [0.0, 10.0, 0.8]])
    *_, auc = average_recall_at_avg_proposals({'v': segment}, {'v': proposals}, 2)
    assert auc == pytest.approx(50 + 0.5)  # half a step of 1% where it rises


def test_video_retrieval_recall():
    from mmaction.evaluation.metrics import RetrievalRecall

    scores, labels = [0.1, 0.9, 0.8], [2]
    metric = RetrievalRecall(topk=(1, 2))
    sample = dict(pred_score=torch.tensor(scores), gt_label=torch.tensor(labels))
    metric.process(None, [sample])
    result = metric.compute_metrics(metric.results)
    assert result == {'Recall@1': 0.0, 'Recall@2': 100.0}


def test_a_box_of_keypoints():
    """``PoseCompact`` uses the infinity that NumPy 2 renamed."""
    from mmaction.datasets.transforms import PoseCompact

    keypoint = np.array([[[[10.0, 20.0], [30.0, 40.0]]]])  # (persons, frames, points, 2)
    results = PoseCompact(padding=0, threshold=0)(dict(img_shape=(100, 100), keypoint=keypoint))
    assert results['keypoint'].tolist() == [[[[0.0, 0.0], [20.0, 20.0]]]]


def test_tube_overlap_of_multisports():
    """Two tubes of one box, frames 1 to 4 and 3 to 6: MMAction2 counts 1 of 5 frames."""
    from mmaction.evaluation.functional.multisports_utils import iou3dt_voc

    first, second = (
        np.array([[frame, 0.0, 0.0, 10.0, 10.0] for frame in range(start, start + 4)], np.float32)
        for start in (1, 3)
    )
    assert iou3dt_voc(first, second) == pytest.approx(1 / 5)


def test_only_mmaction_sees_the_old_names():
    from mmaction.evaluation.functional.ava_evaluation import metrics

    assert metrics.np.NAN is np.nan
    assert hasattr(np, 'NAN') == (np.lib.NumpyVersion(np.__version__) < '2.0.0')


def test_a_python_without_find_loader(monkeypatch):
    """As 3.14: MMEngine asks whether mmcv is compiled on every start of a runner."""
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    compat.find_loader_on_new_python()
    from mmengine.utils.dl_utils.misc import mmcv_full_available

    assert mmcv_full_available() == (sys.modules['mmcv._ext'].__spec__.loader is not None)


def test_mmaction2s_visualization_hook_draws(tmp_path):
    """Upstream's hook and visualizer, on a clip; unmended the call is a TypeError."""
    from mmaction.engine.hooks import VisualizationHook
    from mmaction.structures import ActionDataSample
    from mmaction.visualization import ActionVisualizer

    backends = [dict(type='mmaction.LocalVisBackend')]
    ActionVisualizer.get_instance('test_compat', vis_backends=backends, save_dir=str(tmp_path))
    hook = VisualizationHook(enable=True, interval=1, out_dir=str(tmp_path / 'out'))
    sample = ActionDataSample().set_gt_label(1).set_pred_label(1)
    sample.set_metainfo(dict(filename='clip.mp4'))
    clip = torch.zeros(3, 2, 32, 32, dtype=torch.uint8)
    with DefaultScope.overwrite_default_scope('mmaction'):  # as stock configs have it
        hook._draw_samples(0, dict(inputs=[clip]), [sample])
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 2
