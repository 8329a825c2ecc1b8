"""The detector: what its losses depend on, and what they do not."""

import copy

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData

from mmstal_da.models.adaptation import DomainAdaptation
from tests.model_builders import (
    build_detector,
    dual_batch,
    losses_of,
    module_configs,
    packed,
    plain_batch,
)

DET_LOSSES = ['loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox']
DA_LOSSES = ['loss_da_spatial', 'loss_da_timg', 'loss_da_tinst']


def total(losses: dict) -> torch.Tensor:
    values = [v for k, v in losses.items() if 'loss' in k]
    return sum(v.sum() if torch.is_tensor(v) else sum(x.sum() for x in v) for v in values)


def as_number(value) -> float:
    return float(value if torch.is_tensor(value) else sum(value))


@pytest.mark.slow
def test_all_modules_off_is_the_plain_detector_to_the_last_bit():
    plain = losses_of(build_detector(), plain_batch())
    off = losses_of(build_detector(adaptation=dict(weight=0.5)), dual_batch())
    assert set(DET_LOSSES) <= set(plain) and plain.keys() == off.keys()
    for key in plain:
        assert as_number(plain[key]) == as_number(off[key]), key


@pytest.mark.slow
def test_adaptation_with_fixed_statistics_leaves_the_detection_losses_alone():
    """With batch norm kept, L_act of a joint batch is L_act of its source."""
    kept = {
        'backbone.norm_eval': True,
        'clip_backbone.norm_eval': True,
        'roi_head.shared_head.norm_eval': True,
    }
    detector, adapted = build_detector(**kept), build_detector(module_configs(), **kept)
    adapted.load_state_dict(detector.state_dict(), strict=False)
    plain, joint = losses_of(detector, plain_batch()), losses_of(adapted, dual_batch())
    for key in DET_LOSSES:
        assert as_number(joint[key]) == pytest.approx(as_number(plain[key]), rel=1e-4), key


@pytest.mark.slow
def test_in_bfloat16_losses_are_float32_and_near_those_of_float32():
    """Convolutions run as autocast says; losses and what the RPN ranks by do not."""
    modules = module_configs()
    for module in modules.values():
        if 'dropout' in module:
            module['dropout'] = 0.0  # drawn differently for another type
    detector = build_detector(modules)
    expected = losses_of(detector, dual_batch())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = losses_of(build_detector(modules), dual_batch())
        spatial, _ = detector.extract_feat(detector.data_preprocessor(dual_batch(), True)['inputs'])
        ranked = detector._propose(spatial)
    assert spatial.dtype == torch.bfloat16
    assert {level.dtype for part in ranked for level in part} == {torch.float32}
    for key in (*DA_LOSSES, 'loss_rpn_cls', 'loss_rpn_bbox'):
        for value in losses[key] if isinstance(losses[key], list) else [losses[key]]:
            assert value.dtype == torch.float32, key
        assert as_number(losses[key]) == pytest.approx(as_number(expected[key]), rel=0.05), key


@pytest.mark.slow
@pytest.mark.parametrize('names', [[0], [1], [2], [0, 1], [0, 2], [0, 1, 2]])
def test_each_module_by_itself(names):
    keys = ['spatial', 'temporal_image', 'temporal_instance']
    adaptation = {k: v for i, (k, v) in enumerate(module_configs().items()) if i in names}
    assert set(adaptation) == {keys[i] for i in names}
    losses = losses_of(build_detector(adaptation), dual_batch())
    assert {k for k in losses if k.startswith('loss_da')} == {DA_LOSSES[i] for i in names}
    total(losses).backward()


@pytest.mark.slow
def test_target_labels_never_reach_a_loss():
    detector = build_detector(module_configs())
    losses = []
    for labels in (False, True):
        batch = dual_batch(target_labels=labels)
        if not labels:  # the same pixels; labels draw from the same generator
            pixels = dual_batch(target_labels=True)['target']['inputs']
            batch['target']['inputs'] = pixels
        losses.append(losses_of(detector, batch))
    changed = dual_batch(target_labels=True)
    for sample in changed['target']['data_samples']:
        sample.gt_instances.bboxes += 7
        sample.gt_instances.labels[:] = 1
    losses.append(losses_of(detector, changed))
    for other in losses[1:]:
        assert losses[0].keys() == other.keys()
        for key in other:
            assert as_number(losses[0][key]) == as_number(other[key]), key


@pytest.mark.slow
def test_no_gradient_of_the_detection_losses_reaches_the_target():
    kept = {'backbone.norm_eval': True, 'clip_backbone.norm_eval': True}
    detector = build_detector(module_configs(), **kept)
    data = detector.data_preprocessor(dual_batch(), True)
    for value in data['inputs'].values():
        value.requires_grad_()
    losses = detector(**data, mode='loss')
    total({k: v for k, v in losses.items() if k in DET_LOSSES}).backward(retain_graph=True)
    for value in data['inputs'].values():
        assert value.grad[:2].abs().sum() > 0 and not value.grad[2:].any()
        value.grad = None
    total({k: v for k, v in losses.items() if k in DA_LOSSES}).backward()
    for value in data['inputs'].values():
        assert value.grad[2:].abs().sum() > 0


@pytest.mark.slow
def test_every_discriminator_parameter_gets_a_gradient_without_any_proposal():
    detector = build_detector(module_configs())
    detector.adaptation.num_proposals = 0
    total(losses_of(detector, dual_batch())).backward()
    for name, parameter in detector.adaptation.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['loss_weight', 'grl_coefficient'])
def test_lambda_as_loss_weight_or_as_grl_coefficient(mode):
    """Twice lambda: the features' gradient doubles; the discriminator's only as loss weight."""
    gradients = {}
    for weight in (0.1, 0.2):
        detector = build_detector(dict(lambda_mode=mode, **module_configs()))
        detector.adaptation.weight = weight
        losses = losses_of(detector, dual_batch())
        total({k: v for k, v in losses.items() if k in DA_LOSSES}).backward()
        assert losses['da_lambda'].item() == pytest.approx(weight)
        gradients[weight] = (
            detector.adaptation.temporal_image.conv1.weight.grad,
            detector.clip_backbone.Mixed_3b.b0.conv3d.weight.grad,
        )
    own, features = (gradients[0.2][i].norm() / gradients[0.1][i].norm() for i in range(2))
    assert features.item() == pytest.approx(2, rel=1e-3)
    assert own.item() == pytest.approx(2 if mode == 'loss_weight' else 1, rel=1e-3)


def test_features_get_the_reversed_gradient_of_their_discriminator():
    """d L_da / d features behind the GRL is minus the gradient without it."""
    detector = build_detector(module_configs())
    adaptation = detector.adaptation.eval()
    adaptation.weight = 1.0
    feat = torch.randn(4, 84, 3, 4, requires_grad=True)
    domains = torch.tensor([0, 0, 1, 1])
    args = (torch.randn(4, 128, 3, 4), feat, domains, torch.randn(4, 102), torch.arange(4))
    adaptation(*args)['loss_da_timg'].backward()
    behind = feat.grad.clone()
    feat.grad = None
    adaptation.temporal_image_loss(adaptation.temporal_image(feat), domains).backward()
    torch.testing.assert_close(behind, -feat.grad)


@pytest.mark.slow
def test_predicts_any_batch_size_and_clip_length_in_original_pixels():
    detector = build_detector(**{'test_cfg.rcnn.score_thr': 0.0}).eval()
    for n, length in ((1, 1), (3, 8), (2, 5)):
        data = detector.data_preprocessor(plain_batch(n=n, length=length), False)
        with torch.no_grad():
            results = detector(**data, mode='predict')
        assert len(results) == n
        for sample in results:
            found = sample.pred_instances
            assert len(found) > 0 and found.labels.max() < 3
            # the input is half the original: boxes reach beyond it, not beyond the original
            assert found.bboxes[:, 0::2].max() > 64 and found.bboxes[:, 0::2].max() <= 128
            assert found.bboxes[:, 1::2].max() <= 96 and found.bboxes.min() >= 0


@pytest.mark.slow
def test_prediction_does_not_depend_on_the_rest_of_the_batch():
    detector = build_detector(**{'test_cfg.rcnn.score_thr': 0.0}).eval()
    batch = plain_batch(n=3)
    together = detector.data_preprocessor(batch, False)
    with torch.no_grad():
        together = [s.pred_instances.scores for s in detector(**together, mode='predict')]
        for i, scores in enumerate(together):
            alone = {k: [v[i]] for k, v in plain_batch(n=3).items()}
            alone = detector(**detector.data_preprocessor(alone, False), mode='predict')
            torch.testing.assert_close(alone[0].pred_instances.scores, scores)


def test_the_preprocessor_makes_both_inputs_from_one_clip():
    detector = build_detector()
    batch = dual_batch(size=(40, 60))
    clip, key = batch['target']['inputs'][1].clone(), 4
    out = detector.data_preprocessor(batch, True)
    inputs = out['inputs']
    assert inputs['clip'].shape == (4, 3, 8, 48, 64)
    expected = clip.numpy().astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(inputs['clip'][3, :, :, :40, :60].numpy(), expected, atol=1e-6)
    assert not inputs['clip'][:, :, :, 40:].any() and not inputs['key_frame'][..., 60:].any()
    mean = np.array([123.675, 116.28, 103.53], np.float32)[:, None, None]
    std = np.array([58.395, 57.12, 57.375], np.float32)[:, None, None]
    expected = (clip[:, key].numpy() - mean) / std
    np.testing.assert_allclose(inputs['key_frame'][3, :, :40, :60], expected, atol=1e-5)
    assert [s.metainfo['domain'] for s in out['data_samples']] == [0, 0, 1, 1]


def test_adaptation_on_a_plain_batch_is_refused():
    with pytest.raises(ValueError, match='DualDomainDataset'):
        losses_of(build_detector(module_configs()), plain_batch())
    assert build_detector(dict(lambda_mode='loss_weight')).adaptation is None
    with pytest.raises(ValueError, match='no module is on'):
        DomainAdaptation(lambda_mode='loss_weight')


@pytest.mark.slow
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_equations_6_and_7(reduction):
    """The total that is minimised is L_act + lambda (L_DS + L_DTimg + L_DTinst), by hand."""
    reductions = dict(map_reduction=reduction, instance_reduction=reduction)
    detector = build_detector(dict(**reductions, **module_configs()))
    adaptation = detector.adaptation.eval()
    adaptation.weight = 0.3
    torch.manual_seed(0)
    domains, index = np.array([0, 1, 1]), np.array([0, 0, 0, 1, 2, 2])
    spatial, temporal = torch.randn(3, 128, 6, 8), torch.randn(3, 84, 3, 4)
    instances = torch.randn(6, 102)
    out = adaptation(spatial, temporal, torch.tensor(domains), instances, torch.from_numpy(index))
    with torch.no_grad():
        logits = [
            adaptation.spatial(spatial),
            adaptation.temporal_image(temporal),
            adaptation.temporal_instance(instances),
        ]
    p_s, q, r = (1 / (1 + np.exp(-x.numpy().astype(np.float64))) for x in logits)
    inner = {'mean': np.mean, 'sum': np.sum}[reduction]
    l_s = l_t = l_i = 0.0
    for i, d in enumerate(domains):
        n = (domains == d).sum()
        right = [x if d else 1 - x for x in (p_s[i, 0], q[i], r[index == i])]
        l_s -= (1 - right[0]) ** 5 * np.log(right[0]) / n
        l_t -= inner(np.log(right[1])) / n
        l_i -= inner(np.log(right[2])) / n
    total_loss, _ = detector.parse_losses(dict(loss_act=torch.tensor(2.0), **out))
    assert total_loss.item() == pytest.approx(2.0 + 0.3 * (l_s + l_t + l_i), rel=1e-4)


@pytest.mark.slow
def test_labels_of_both_domains_are_one_batch_of_twice_the_clips():
    """Row ``oracle_st``: the losses of the same clips as one plain batch."""
    source, target = plain_batch(0), plain_batch(1)
    both = dict(source=source, labelled_target=target)
    joined = {key: [*source[key], *target[key]] for key in source}
    losses = losses_of(build_detector(), both)
    expected = losses_of(build_detector(), joined)
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        assert float(sum(value) if isinstance(value, list) else value) == float(
            sum(expected[name]) if isinstance(expected[name], list) else expected[name]
        )


@pytest.mark.slow
def test_clips_without_a_box_are_negatives():
    """Without a positive, L_act has no box losses, and the classification learns background."""
    detector = build_detector()
    rng = np.random.default_rng(0)
    items = [packed(rng), packed(rng)]
    for item in items:
        sample = item['data_samples']
        sample.gt_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
    batch = detector.data_preprocessor(pseudo_collate(items), training=True)
    losses = detector(**batch, mode='loss')
    assert as_number(losses['loss_rpn_bbox']) == 0
    assert as_number(losses['loss_bbox']) == 0
    assert as_number(losses['loss_cls']) > 0 and as_number(losses['loss_rpn_cls']) > 0
    total(losses).backward()
    bias = detector.roi_head.bbox_head.fc_cls.bias.grad
    assert bias[-1] < 0 < bias[:-1].min()  # of the background, and of the actions


@pytest.mark.parametrize('count', [0, 3])
def test_given_proposals_take_the_place_of_the_rpns(count, monkeypatch):
    """Detections are those of the same boxes from the RPN; their classes are not looked at."""
    detector = build_detector().eval()
    batch = plain_batch(2)
    boxes = [torch.rand(count, 4) * 20 + torch.tensor([0, 0, 20, 20]) for _ in range(2)]

    def found(given: bool) -> list:
        samples = copy.deepcopy(batch)
        if given:
            for sample, of_clip in zip(samples['data_samples'], boxes, strict=True):
                sample.proposals = InstanceData(bboxes=of_clip, scores=torch.ones(count))
        return [sample.pred_instances for sample in detector.test_step(samples)]

    given = found(True)
    monkeypatch.setattr(
        detector, '_proposals', lambda *args: [InstanceData(bboxes=part) for part in boxes]
    )
    for one, other in zip(given, found(False), strict=True):
        assert torch.equal(one.bboxes, other.bboxes)
        assert torch.equal(one.scores, other.scores) and torch.equal(one.labels, other.labels)
        assert (len(one) > 0) == (count > 0)
