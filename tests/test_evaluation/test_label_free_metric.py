"""The metric on predictions of the tiny detector, with the hook's views."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from mmstal_da.engine.hooks import LabelFreeViewsHook
from mmstal_da.evaluation.functional import Detections
from mmstal_da.evaluation.functional.label_free import (
    box_stability,
    consistency_and_reliability,
    pcr,
    tube_steadiness,
)
from mmstal_da.evaluation.metrics import LabelFreeMetric
from mmstal_da.evaluation.metrics.label_free_metric import numbered
from tests.model_builders import build_detector, plain_batch

LOW = {'test_cfg.rcnn.score_thr': 0.0, 'test_cfg.rpn.max_per_img': 12}


def predict(hook, batch: dict, **changes) -> tuple:
    """Predictions of a batch, and the detector."""
    detector = build_detector(**{**LOW, **changes}).eval()
    if hook is not None:
        hook.before_val_epoch(SimpleNamespace(model=detector))
    with torch.no_grad():
        samples = detector.val_step(batch)
    if hook is not None:
        hook.after_val_epoch(SimpleNamespace(model=detector))
        assert detector.test_observer is None
    return samples, detector


def batch(n: int = 2) -> dict:
    data = plain_batch(n=n, size=(32, 48), length=4)
    for number, sample in enumerate(data['data_samples']):
        sample.set_metainfo(dict(key_frame=number + 1))
    return data


def test_the_views_leave_the_predictions_alone():
    torch.manual_seed(3)
    plain, _ = predict(None, batch())
    state = torch.random.get_rng_state()
    watched, _ = predict(LabelFreeViewsHook(), batch())
    for a, b in zip(plain, watched, strict=True):
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(a.pred_instances[key], b.pred_instances[key]), key
        assert 'candidates' not in a and {'candidates', 'dropout_instances'} <= set(b.keys())
    torch.random.set_rng_state(state)


def test_candidates_are_what_nms_chooses_from():
    (sample, _), _ = predict(LabelFreeViewsHook(), batch())
    candidates = sample.candidates
    assert candidates.scores.shape == (len(candidates.bboxes), 4)  # background last
    assert 0 < len(candidates.bboxes) <= 12
    torch.testing.assert_close(candidates.scores.sum(1), torch.ones(len(candidates.scores)))
    found = sample.pred_instances
    distance = torch.cdist(found.bboxes, candidates.bboxes)
    assert distance.min(1).values.max() < 1e-3  # every detection is a candidate
    place = distance.argmin(1)
    torch.testing.assert_close(found.scores, candidates.scores[place, found.labels])


@pytest.mark.slow
def test_dropout_is_that_of_the_frame_and_nothing_else():
    hook = LabelFreeViewsHook(0.5)
    (first, second), _ = predict(hook, batch())
    again, _ = predict(hook, batch(1))  # another batch size
    torch.testing.assert_close(
        again[0].dropout_instances.scores, first.dropout_instances.scores, rtol=1e-4, atol=1e-5
    )
    assert not torch.equal(first.dropout_instances.bboxes[:3], second.dropout_instances.bboxes[:3])
    samples = [SimpleNamespace(metainfo=dict(video_name='v', key_frame=frame)) for frame in (1, 2)]
    ones = torch.ones(2, 8, 20, 20)
    dropped = hook._drop(ones, 'SF', samples)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(dropped[0], dropped[1])
    tiny, _ = predict(LabelFreeViewsHook(1e-9), batch())
    torch.testing.assert_close(tiny[0].dropout_instances.scores, tiny[0].pred_instances.scores)
    with pytest.raises(ValueError, match='dropout is a finite number above 0 and below 1'):
        LabelFreeViewsHook(0.0)


def evaluate(metric: LabelFreeMetric, samples: list, parts: int = 1) -> dict:
    evaluator = Evaluator(metric)
    for begin in range(0, len(samples), parts):
        evaluator.process(data_samples=samples[begin : begin + parts])
    return evaluator.evaluate(len(samples))


def test_the_metric_is_made_of_the_functions():
    samples, _ = predict(LabelFreeViewsHook(), batch(3))
    result = evaluate(LabelFreeMetric(score_thr=0.1, min_length=2), samples)
    pairs, stability = [], []
    for sample in samples:
        boxes, scores = sample.candidates.bboxes.numpy(), sample.candidates.scores.numpy()
        pairs += [consistency_and_reliability(boxes, scores[:, c]) for c in range(3)]
        a, b = sample.pred_instances, sample.dropout_instances
        keep, other = a.scores >= 0.1, b.scores >= 0.1
        stability.append(
            box_stability(
                a.bboxes[keep].numpy(), a.labels[keep].numpy(),
                b.bboxes[other].numpy(), b.labels[other].numpy(),
            )
        )  # fmt: skip
    assert result['label_free/pcr'] == pytest.approx(pcr(*np.array(pairs).T), nan_ok=True)
    assert result['label_free/box_stability'] == pytest.approx(np.nanmean(stability))
    assert result['label_free/frames'] == 3
    assert set(result) == {
        f'label_free/{key}'
        for key in (
            'pcr', 'pcr_consistency', 'pcr_reliability', 'box_stability', 'tube_steadiness',
            'frames',
        )
    }  # fmt: skip


class Blind(dict):
    """A prediction that may be asked for nothing but itself."""

    def __getitem__(self, key):
        assert not str(key).startswith('gt'), 'labels were read'
        return super().__getitem__(key)

    get = None


@pytest.mark.slow
def test_labels_are_not_read():
    results = []
    for label in (0, 2):
        data = batch()
        for sample in data['data_samples']:
            sample.gt_instances.labels[:] = label
            sample.gt_instances.bboxes += label
        samples, _ = predict(LabelFreeViewsHook(), data)
        metric = LabelFreeMetric(min_length=1)
        metric.process({}, [Blind(sample.to_dict()) for sample in samples])
        results.append(metric.evaluate(2))
        # without any labels in the sample
        bare = [
            {key: value for key, value in sample.to_dict().items() if not key.startswith('gt')}
            for sample in samples
        ]
        metric = LabelFreeMetric(min_length=1)
        metric.process({}, bare)
        results.append(metric.evaluate(2))
    for other in results[1:]:
        assert other == pytest.approx(results[0], nan_ok=True)


def test_key_frames_are_counted_in_their_video():
    box = [[0, 0.9, 10, 10, 40, 50]]
    frames = {('b', 9): np.float32(box), ('b', 5): np.float32(box), ('a', 1): np.zeros((0, 6))}
    frames['b', 13] = np.float32(box)
    dets = numbered(frames)
    assert dets.frame.tolist() == [1, 2, 3] and dets.video.tolist() == [1, 1, 1]
    assert len(numbered({})) == 0


def steady_samples(n: int) -> list[dict]:
    instances = dict(
        bboxes=torch.tensor([[10.0, 10, 40, 50]]), scores=torch.tensor([0.9]),
        labels=torch.tensor([1]),
    )  # fmt: skip
    return [dict(video_name='v', key_frame=4 * i + 1, pred_instances=instances) for i in range(n)]


def test_repeated_samples_of_a_sampler_count_once_and_tubes_span_every_nth_frame():
    metric = LabelFreeMetric(scores=('tube_steadiness',), min_length=5)
    metric.process({}, steady_samples(5) + steady_samples(2))
    result = metric.evaluate(5)
    assert result == {'label_free/frames': 5, 'label_free/tube_steadiness': pytest.approx(1)}
    dets = Detections.from_rows(np.float32([[0, i, 1, 0.9, 10, 10, 40, 50] for i in range(1, 6)]))
    assert np.isclose(tube_steadiness(dets), 0)  # shorter than the protocol's 15


def test_missing_views_and_unknown_scores_are_said():
    samples, _ = predict(None, batch())
    with pytest.raises(ValueError, match=r'frame 1: the predictions have no candidates; .*Views'):
        evaluate(LabelFreeMetric(), samples)
    with pytest.raises(ValueError, match='some of pcr'):
        LabelFreeMetric(scores=('map',))
