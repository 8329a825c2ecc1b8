"""Label-free scores of checkpoints on a tiny pair, and of files of detections."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmstal_da.evaluation.files import save_detections
from mmstal_da.evaluation.functional import Detections
from mmstal_da.evaluation.functional.label_free import tube_steadiness
from mmstal_da.synthetic import ClipSettings, SyntheticConfig, generate
from tests.load_tool import load_tool
from tests.model_builders import CONFIGS, FROM_RANDOM_WEIGHTS, TINY, build_detector, module_configs

pytestmark = pytest.mark.slow
tool = load_tool('analysis_tools/rank_checkpoints')


@pytest.fixture(scope='module')
def pair(tmp_path_factory) -> tuple:
    """A config on the tiny pair, its folder, and three checkpoints of two runs."""
    folder = tmp_path_factory.mktemp('ranking')
    clip = ClipSettings(width=64, height=48, min_frames=16, max_frames=16)
    videos = dict(source_train=1, source_test=1, target_train=1, target_test=2)
    generate(folder / 'pair', SyntheticConfig(clip=clip, **videos))
    cfg = Config.fromfile(CONFIGS / 'synthetic/full.py')
    changes = {f'model.{key}': value for key, value in (TINY | FROM_RANDOM_WEIGHTS).items()}
    cfg.merge_from_dict({**changes, 'model.adaptation': module_configs()})
    for side in ('source', 'target'):
        cfg.train_dataloader.dataset[side].data_root = f'{folder}/pair/'
    cfg.test_dataloader.dataset.data_root = f'{folder}/pair/'
    cfg.test_evaluator.ann_file = f'{folder}/pair/target.json'
    cfg.model.roi_head.bbox_head.num_classes = 4
    cfg.dump(folder / 'tiny.py')
    checkpoints = []
    for seed, name in enumerate(('full/iter_1', 'full/iter_2', 'dn/iter_2')):
        path = folder / f'{name}.pth'
        path.parent.mkdir(exist_ok=True)
        detector = build_detector(
            module_configs(), seed=seed, **{'roi_head.bbox_head.num_classes': 4}
        )
        torch.save(dict(state_dict=detector.state_dict()), path)
        checkpoints.append(str(path))
    return folder, checkpoints


def test_records_are_made_once_and_ranked(pair, tmp_path, capsys, monkeypatch):
    folder, checkpoints = pair
    arguments = [str(folder / 'tiny.py'), *checkpoints, '--out', str(tmp_path), '--workers', '0']
    arguments += ['--source-split', 'test', '--score-thr', '0.01']
    arguments += ['--cfg-options', 'model.test_cfg.rcnn.score_thr=0.0']
    assert tool.main(arguments) == 0
    said = capsys.readouterr().out
    assert 'source_mAP (baseline)' in said and 'too few' in said
    files = sorted(path.name for path in tmp_path.glob('*.json'))
    assert files == ['dn_iter_2.json', 'full_iter_1.json', 'full_iter_2.json']
    record = json.loads((tmp_path / files[0]).read_text())
    assert record['run'] == 'dn' and record['name'] == 'dn, iter_2'
    assert {'pcr', 'box_stability', 'tube_steadiness', 'target_mAP', 'source_mAP'} < record.keys()
    assert 0 <= record['box_stability'] <= 1
    monkeypatch.setattr(tool, 'record_of', None)  # a second start computes nothing
    assert tool.main(arguments) == 0
    assert tool.main(['--records', str(tmp_path)]) == 0
    assert 'dn, iter_2' in capsys.readouterr().out


def test_without_labels_of_the_target_there_are_scores_and_no_ranking(pair, tmp_path, capsys):
    folder, checkpoints = pair
    annotation = json.loads((folder / 'pair/target.json').read_text())
    annotation['tubes'] = {}
    (folder / 'pair/unlabelled.json').write_text(json.dumps(annotation))
    options = [
        'test_dataloader.dataset.ann_file=unlabelled.json',
        'test_dataloader.dataset.labelled=False',
    ]
    arguments = [str(folder / 'tiny.py'), checkpoints[0], '--out', str(tmp_path), '--workers', '0']
    assert tool.main([*arguments, '--score-thr', '0.01', '--cfg-options', *options]) == 0
    said = capsys.readouterr().out
    assert 'no labels of the target' in said and 'box_stability' in said and 'mAP' not in said[:200]


def test_wrong_input_is_said(pair, tmp_path, capsys):
    folder, checkpoints = pair
    arguments = [str(folder / 'tiny.py'), checkpoints[0], '--out', str(tmp_path)]
    for extra, message in (
        (['--source-split', 'train'], 'is what was trained on'),
        (['--source-split', 'x', '--videos', 'nothing*'], 'nothing*'),
    ):
        assert tool.main([*arguments, *extra]) == 2
        assert message in capsys.readouterr().err
    assert tool.main(['--records', str(tmp_path / 'none')]) == 2
    assert 'no records' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main([])


def test_files_of_detections_are_scored_without_a_detector(tmp_path, capsys):
    rows = np.float32([[0, i, 1, 0.9, 10 + i, 10, 40 + i, 50] for i in range(1, 21)])
    dets = Detections.from_rows(rows)
    save_detections(tmp_path / 'a.npz', dets, ['v'], ['x', 'y'])
    assert tool.main(['--dets', f'mine={tmp_path}/a.npz']) == 0
    said = capsys.readouterr().out
    assert 'mine' in said and f'{tube_steadiness(dets):.3f}' in said and 'pcr' not in said
