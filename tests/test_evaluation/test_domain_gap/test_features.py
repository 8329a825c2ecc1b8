"""Which key frames are taken, and whose features they are."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmstal_da.errors import UsageError
from mmstal_da.evaluation.domain_gap.features import (
    Features,
    domain_dataset,
    extract,
    image_mean,
    spread,
)
from tests.model_builders import CONFIGS, build_detector, packed


def test_key_frames_are_spread_over_videos_and_within_them():
    names = ['a'] * 4 + ['b'] * 1 + ['c'] * 10 + ['d'] * 6
    assert spread(names, 99, 2) == [1, 3, 4, 7, 12, 16, 19]
    assert spread(names, 2, 1) == [4, 18]
    assert spread(names, 99, 99) == list(range(21))


@pytest.mark.slow
def test_both_domains_are_read_without_labels_by_the_test_pipeline():
    cfg = Config.fromfile(CONFIGS / 'jhmdb_to_ucf101/full.py')
    for domain, file in (('source', 'jhmdb.json'), ('target', 'ucf101_24.json')):
        dataset = domain_dataset(cfg, domain)
        assert dataset['ann_file'] == file and dataset['split'] == 'train'
        assert dataset['labelled'] is False and 'class_map' not in dataset
        assert dataset['pipeline'] == cfg.test_dataloader.dataset.pipeline
    assert domain_dataset(cfg, 'source', 'test')['split'] == 'test'
    cfg.test_dataloader = None  # a target without labels
    assert domain_dataset(cfg, 'source')['pipeline'] == cfg.test_pipeline
    with pytest.raises(UsageError, match='pair of domains'):
        domain_dataset(Config(dict(train_dataloader=dict(dataset=dict(type='X')))), 'target')


def batch(rng: np.random.Generator, names: list[str]) -> dict:
    items = [packed(rng, size=(32, 48), length=4, labels=False) for _ in names]
    for item, name in zip(items, names, strict=True):
        item['data_samples'].set_metainfo(dict(video_name=name))
    return {key: [item[key] for item in items] for key in items[0]}


def test_a_row_is_what_the_discriminators_would_see(tmp_path):
    detector = build_detector(**{'test_cfg.rpn.max_per_img': 5}).eval()
    rng = np.random.default_rng(0)
    source, target = batch(rng, ['a', 'b']), batch(rng, ['a'])
    found = extract(detector, dict(source=[source], target=[target]), num_proposals=2)
    assert found.domains.tolist() == [0, 0, 1] and found.videos.tolist() == ['a', 'b', 'a']
    widths = {place: rows.shape for place, rows in found.at.items()}
    assert widths == {'SF': (3, 128), 'TF1': (3, 84), 'TF2': (3, 102)}
    with torch.no_grad():
        data = detector.data_preprocessor(target, False)
        spatial, temporal = detector.extract_feat(data['inputs'])
        (proposals,) = detector.rpn_head.predict((spatial,), data['data_samples'], rescale=False)
        vectors, _ = detector.roi_head.instance_features((temporal,), [proposals.bboxes[:2]])
    for place, rows in (
        ('SF', spatial.mean((2, 3))), ('TF1', temporal.mean((2, 3))), ('TF2', vectors.mean(0)[None])
    ):  # fmt: skip
        np.testing.assert_allclose(found.at[place][2:], rows.numpy(), rtol=1e-4, atol=1e-5)
    found.save(tmp_path / 'f.npz')
    with np.load(tmp_path / 'f.npz') as file:
        assert sorted(file) == ['SF', 'TF1', 'TF2', 'domain', 'frame', 'video']
        np.testing.assert_array_equal(file['TF1'], found.at['TF1'])
    with pytest.raises(UsageError, match='has no SF'):
        extract(torch.nn.Linear(1, 1), {})


def test_statistics_per_domain_are_those_of_the_domain():
    detector = build_detector(domain_norm='target').eval()
    same = batch(np.random.default_rng(0), ['a'])
    norm = next(m for m in detector.backbone.modules() if hasattr(m, 'target_running_mean'))
    found = extract(detector, dict(source=[same], target=[same]))
    np.testing.assert_array_equal(found.at['SF'][0], found.at['SF'][1])
    norm.target_running_mean += 1
    changed = extract(detector, dict(source=[same], target=[same]))
    np.testing.assert_array_equal(found.at['SF'][0], changed.at['SF'][0])
    assert not np.allclose(found.at['SF'][1], changed.at['SF'][1])


def test_padding_does_not_count():
    feature_map = torch.arange(24.0).reshape(1, 1, 4, 6)
    sample = type('S', (), dict(metainfo=dict(pad_shape=(32, 48), batch_input_shape=(64, 96))))
    assert image_mean(feature_map, [sample]).item() == feature_map[..., :2, :3].mean()


def test_features_keep_their_domain(tmp_path):
    at = {'SF': np.zeros((2, 3), np.float32)}
    features = Features(at, np.array([0, 1]), np.array(['a/b', 'c']), np.array([1, 9]))
    features.save(tmp_path / 'deep/f.npz')
    with np.load(tmp_path / 'deep/f.npz') as file:
        assert file['video'].tolist() == ['a/b', 'c'] and file['frame'].tolist() == [1, 9]
