"""Every data error of a config is found before anything is built."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict

from mmstal_da.datasets.proposals import save_proposals
from mmstal_da.errors import ConfigError
from mmstal_da.launch.checks import check_config
from mmstal_da.tubes.annotation import Annotation, Tube, Video, save_annotation
from tests.load_tool import load_tool

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ('Golf', 'Walk')
CLASS_MAP = dict(golf='Golf', walk='Walk')


def write(folder: Path, splits: dict[str, list[str]], classes: list[str], tubes=True) -> None:
    """An annotation whose videos ``<class>/<name>`` have one tube; the videos are empty files."""
    annotation = Annotation(folder.name, classes, splits=splits)
    for name in dict.fromkeys(name for names in splits.values() for name in names):
        path = folder / 'videos' / f'{name}.avi'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        annotation.videos[name] = Video(f'{name}.avi', 4, 64, 48)
        if tubes:
            box = np.array([[1, 2, 30, 40]], np.float32)
            annotation.tubes[name] = [Tube(name.split('/')[0], np.array([2]), box)]
    save_annotation(annotation, folder / 'annotation.json')


def dataset(folder: Path, split: str, **kwargs) -> dict:
    return dict(
        type='ActionTubeDataset', ann_file='annotation.json', split=split, data_root=str(folder),
        data_prefix='videos', classes=CLASSES, pipeline=[], **kwargs,
    )  # fmt: skip


@pytest.fixture
def cfg(tmp_path) -> Config:
    """A pair without fault."""
    source, target = tmp_path / 'source', tmp_path / 'target'
    write(source, {'train': ['golf/a', 'walk/b', 'sit/c'], 'test': ['golf/d', 'walk/e']},
          ['golf', 'sit', 'walk'])  # fmt: skip
    write(target, {'train': ['Golf/1', 'Walk/2'], 'test': ['Golf/3', 'Walk/4'], 'none': []},
          ['Golf', 'Walk'])  # fmt: skip
    test = dict(dataset=dataset(target, 'test', test_mode=True))
    metric = dict(
        type='TubeMetric', ann_file=str(target / 'annotation.json'), split='test', classes=CLASSES,
        background_frames=False,
    )  # fmt: skip
    pair = dict(
        type='DualDomainDataset',
        source=dataset(source, 'train', class_map=CLASS_MAP),
        target=dataset(target, 'train', labelled=False),
    )
    model = dict(type='ActionTubeDetector', roi_head=dict(bbox_head=dict(num_classes=2)))
    return Config(
        dict(
            model=model, train_dataloader=dict(dataset=pair),
            val_dataloader=test, val_evaluator=metric,
            test_dataloader=copy.deepcopy(test), test_evaluator=copy.deepcopy(metric),
        )
    )  # fmt: skip


def change(cfg: Config, **values) -> None:
    """Set ``source``, ``target``, ``val``, ``test`` or ``metric`` keys, ``source__split=...``."""
    place = dict(
        source=cfg.train_dataloader.dataset.source,
        target=cfg.train_dataloader.dataset.target,
        val=cfg.val_dataloader.dataset,
        test=cfg.test_dataloader.dataset,
        metric=cfg.val_evaluator,
    )
    for key, value in values.items():
        part, _, name = key.partition('__')
        place[part][name] = value


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_a_sound_pair_passes(cfg, mode):
    check_config(cfg, mode)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        # a class map with a typo, on either side
        (dict(source__class_map=dict(gofl='Golf', walk='Walk')),
         r"dataset\.source .*renames \['gofl'\].*was 'golf' meant"),
        (dict(source__class_map=dict(golf='Gulf', walk='Walk')),
         r"dataset\.source .*maps to \['Gulf'\].*was 'Golf' meant"),
        (dict(metric__class_map=dict(Gollf='Golf')), r"val_evaluator .*renames \['Gollf'\]"),
        # a class missing on one side
        (dict(source__class_map=dict(golf='Golf')), r"dataset\.source .*maps to \['Walk'\]"),
        (dict(source__videos=['golf/*']), r"dataset\.source .*no tube of \['Walk'\] to train on"),
        (dict(val__videos=['Golf/*']), r"val_dataloader\.dataset .*no tube of \['Walk'\] to eval"),
        (dict(metric__videos=['Golf/*']), r"val_evaluator .*no tube of \['Walk'\] to evaluate"),
        # training and evaluation overlap
        (dict(target__split='test'), r'target .* share 2 videos.*allow_transductive = True'),
        # an empty target
        (dict(target__split='none'), r"dataset\.target .*split 'none'.*no video is in the split"),
        (dict(target__videos=['Gulf/*']), r"dataset\.target .*'Gulf/\*' matches no video"),
        (dict(target__split='trian'), r"dataset\.target .*no split 'trian'; it has"),
        # the rest
        (dict(source__ann_file='absent.json'), r'source .*no annotation file.*prepare\.py'),
        (dict(target__ann_file='absent.json'), r'target .*no annotation file.*index_videos\.py'),
        (dict(val__ann_file='absent.json'), r'val_dataloader\.dataset .*no annotation file'),
        (dict(metric__ann_file='absent.json'), r'val_evaluator .*no annotation file'),
        (dict(source__ann_file=None), r'dataset\.source: `ann_file` is not given'),
        (dict(target__data_prefix='vdieos'), r'target .*2 of 2 videos do not exist.*data_prefix'),
        (dict(target__classes=('Walk', 'Golf')), r"classes` differ: \['Golf', 'Walk'\] of train"),
        (dict(metric__classes=('Walk', 'Golf')), r'`classes` differ: .*val_evaluator'),
        (dict(source__classes=()), r'dataset\.source .*`classes` is empty'),
        (dict(metric__split='train'), r"val_evaluator .*has no video 'Golf/3'"),
        (dict(metric__background_frames=True), r'val_evaluator .*background_frames'),
    ],
)  # fmt: skip
def test_each_error_names_its_place_and_remedy(cfg, changes, message):
    change(cfg, **changes)
    with pytest.raises(ConfigError, match=message):
        check_config(cfg)


def test_the_head_has_the_classes_of_the_data(cfg):
    cfg.model.roi_head.bbox_head.num_classes = 4
    with pytest.raises(ConfigError, match='num_classes is 4, but .* has 2 classes'):
        check_config(cfg)


def test_labels_that_are_trained_on_are_never_evaluated(cfg):
    """Not even where transductive adaptation is allowed."""
    cfg.allow_transductive = True
    labelled = dict(cfg.train_dataloader.dataset.target, labelled=True)
    cfg.train_dataloader.dataset = ConfigDict(type='SeededDraws', dataset=labelled)
    check_config(cfg)  # the oracle
    cfg.train_dataloader.dataset.dataset.split = 'test'
    for mode in ('train', 'test'):
        with pytest.raises(ConfigError, match='share 2 videos') as error:
            check_config(cfg, mode)
        assert 'allow_transductive' not in str(error.value)


def test_boxes_without_classes_stand_for_no_class_and_are_never_evaluated(cfg):
    pair = cfg.train_dataloader.dataset
    pair.train_on = 'source_and_target_boxes'
    check_config(cfg)
    change(cfg, source__videos=['golf/*'])
    with pytest.raises(ConfigError, match=r"source .*no tube of \['Walk'\] to train on"):
        check_config(cfg)
    del pair.source['videos']
    cfg.allow_transductive = True
    change(cfg, target__split='test')
    with pytest.raises(ConfigError, match='share 2 videos'):
        check_config(cfg)


def test_transductive_adaptation_has_to_be_said(cfg):
    change(cfg, target__split='test')
    cfg.allow_transductive = True
    check_config(cfg)


def test_the_same_file_under_another_name_is_the_same_video(cfg, tmp_path):
    """A second annotation file, of another name, whose videos are links to the test videos."""
    copied = tmp_path / 'copied'
    write(copied, {'train': ['x', 'y']}, ['Golf', 'Walk'], tubes=False)
    (copied / 'videos/x.avi').unlink()
    (copied / 'videos/x.avi').symlink_to(tmp_path / 'target/videos/Golf/3.avi')
    change(cfg, target__data_root=str(copied))
    with pytest.raises(ConfigError, match=r"share 1 videos, such as 'x' \(there 'Golf/3'\)"):
        check_config(cfg)


def test_another_annotation_file_of_the_same_dataset_is_the_same_dataset(cfg, tmp_path):
    again = tmp_path / 'again' / 'target'
    write(again, {'train': ['Golf/3', 'Walk/9']}, ['Golf', 'Walk'])
    change(cfg, target__data_root=str(again))
    with pytest.raises(ConfigError, match="share 1 videos, such as 'Golf/3'"):
        check_config(cfg)


def test_classes_without_ground_truth_have_to_be_said(cfg):
    for part in (cfg.val_dataloader.dataset, cfg.val_evaluator):
        part.videos = ['Golf/*']
    with pytest.raises(ConfigError, match=r"set allow_classes_without_truth = \['Walk'\]"):
        check_config(cfg)
    cfg.allow_classes_without_truth = ['Walk']
    check_config(cfg)


def test_a_metric_that_scores_more_than_is_predicted(cfg):
    cfg.allow_classes_without_truth = ['Walk']
    change(cfg, val__videos=['Golf/*'])
    with pytest.raises(ConfigError, match=r"val_evaluator .*scores 'Walk/4', which val_dataload"):
        check_config(cfg)


def test_the_targets_training_labels_are_not_read(cfg, tmp_path, monkeypatch):
    from mmstal_da.launch import checks as config_checks

    asked = []

    def load(path, with_tubes):
        asked.append((Path(path).parent.name, with_tubes))
        return original(path, with_tubes=with_tubes)

    original = config_checks.load_annotation
    monkeypatch.setattr(config_checks, 'load_annotation', load)
    for stage in ('val', 'test'):
        cfg[f'{stage}_dataloader'] = cfg[f'{stage}_evaluator'] = None
    check_config(cfg)
    assert asked == [('source', True), ('target', False)]


def test_a_target_without_labels_trains_but_is_not_evaluated(cfg, tmp_path, capsys):
    write(tmp_path / 'target', {'train': ['Golf/1'], 'test': ['Golf/3']}, ['unlabelled'], False)
    with pytest.raises(ConfigError, match=r'val_dataloader\.dataset.*--no-validate'):
        check_config(cfg)
    cfg.val_dataloader = cfg.val_evaluator = None
    check_config(cfg)
    assert 'cannot be tested with this config yet' in capsys.readouterr().out
    with pytest.raises(ConfigError, match='evaluation needs labels'):
        check_config(cfg, 'test')


def test_testing_needs_no_training_data(cfg, tmp_path, capsys):
    (tmp_path / 'source/annotation.json').unlink()
    with pytest.raises(ConfigError, match='no annotation file'):
        check_config(cfg)
    check_config(cfg, 'test')
    assert 'not checked that no video trained on is evaluated' in capsys.readouterr().out
    change(cfg, target__split='test')
    with pytest.raises(ConfigError, match='share 2 videos'):
        check_config(cfg, 'test')


def test_a_broken_annotation_file_is_named(cfg, tmp_path):
    (tmp_path / 'target/annotation.json').write_text('{"format": ')
    for mode in ('train', 'test'):
        with pytest.raises(ConfigError, match=r'target/annotation\.json: not JSON'):
            check_config(cfg, mode)


def test_other_configs_pass_unchanged(cfg):
    stock = Config(
        dict(
            train_dataloader=dict(dataset=dict(type='AVADataset', ann_file='absent.csv')),
            val_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dict(type='X'))),
            val_evaluator=[dict(type='AVAMetric', ann_file='absent.csv')],
        )
    )
    before = copy.deepcopy(stock.to_dict())
    check_config(stock)
    check_config(stock, 'test')
    check_config(Config(dict(model=dict(type='ActionTubeDetector'))))
    assert stock.to_dict() == before


@pytest.mark.slow
@pytest.mark.parametrize('name', ['train', 'test'])
def test_the_tools_say_it_before_they_write_anything(name, cfg, tmp_path, monkeypatch, capsys):
    tool = load_tool(name)
    change(cfg, source__class_map=dict(gofl='Golf', walk='Walk'))
    cfg.test_evaluator.class_map = dict(gofl='Golf')
    cfg.dump(tmp_path / 'pair.py')
    torch.save(dict(state_dict=dict(x=torch.ones(1))), tmp_path / 'x.pth')
    arguments = [str(tmp_path / 'pair.py'), str(tmp_path / 'x.pth')][: 1 + (name == 'test')]
    monkeypatch.setattr('sys.argv', [name, *arguments, '--work-dir', str(tmp_path / 'work')])
    with pytest.raises(SystemExit) as end:
        tool.main()
    assert end.value.code == 2
    assert "renames ['gofl']" in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()


def test_proposals_that_are_not_there_are_found_before_training(cfg, tmp_path):
    file = tmp_path / 'proposals.npz'
    cfg.train_dataloader.dataset.source.proposals = str(file)
    with pytest.raises(ConfigError, match='source.proposals: .*no such file.*dump_proposals.py'):
        check_config(cfg, 'train')
    save_proposals(file, {'test': ({}, {})})
    with pytest.raises(ConfigError, match=r"no part 'train', only \['test'\]"):
        check_config(cfg, 'train')
    file.write_text('text')
    with pytest.raises(ConfigError, match='not a readable file of proposals'):
        check_config(cfg, 'train')
    save_proposals(file, {'train': ({}, {})})
    check_config(cfg, 'train')
    cfg.train_dataloader.dataset.source.proposals_part = 'val'
    with pytest.raises(ConfigError, match=r"no part 'val', only \['train'\]"):
        check_config(cfg, 'train')
    cfg.train_dataloader.dataset.source.proposals = 'ground_truth'
    check_config(cfg, 'train')


def test_a_head_on_proposals_has_the_classes_of_the_data(cfg):
    cfg.model = dict(type='mmdet.FastRCNN', roi_head=dict(bbox_head=dict(num_classes=3)))
    with pytest.raises(ConfigError, match='num_classes is 3, but .* has 2 classes'):
        check_config(cfg, 'test')


def test_label_free_scores_may_be_of_the_videos_that_are_adapted_on(cfg):
    """They read no labels, so they are no evaluation; with any other metric they would be."""
    cfg.val_dataloader = dict(dataset=copy.deepcopy(cfg.train_dataloader.dataset.target))
    cfg.val_evaluator = dict(type='LabelFreeMetric')
    check_config(cfg)
    cfg.val_evaluator = [dict(type='LabelFreeMetric'), dict(type='DumpResults')]
    with pytest.raises(ConfigError, match='training videos must not be evaluated'):
        check_config(cfg)
    cfg.val_evaluator = dict(type='LabelFreeMetric')
    cfg.val_dataloader.dataset.labelled = True
    with pytest.raises(ConfigError, match='training videos must not be evaluated'):
        check_config(cfg)
