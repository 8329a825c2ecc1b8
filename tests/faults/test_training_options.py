"""An override that changes nothing is an error that says what would."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmstal_da.errors import ConfigError, UsageError
from mmstal_da.experiments.rows import read_config
from mmstal_da.launch.config import load_config
from mmstal_da.launch.options import READ, check_names, override
from tests.load_tool import load_tool
from tests.test_configs import CONFIGS, RUNNABLE

FULL = CONFIGS / 'synthetic/full.py'
PAIR = CONFIGS / 'jhmdb_to_ucf101/full.py'

# option -> what the message says: why, and a key that is read
SILENT = {
    'modle.adaptation=None': "nothing reads 'modle'; read are model.adaptation",
    'data_root=x': "nothing reads 'data_root'; read are train_dataloader.dataset.source.data_root",
    'classes=[a]': "'classes' is used up while .*full.py is read.* read are train_dataloader.datas",
    'train_pipeline.0.clip_len=4': "'train_pipeline' is used up .*source.pipeline.0.clip_len",
    'spatial.dropout=0.1': "'spatial' is used up .* model.adaptation.spatial.dropout",
    'vis_backends=[]': "'vis_backends' is used up .* visualizer.vis_backends",
    'model.adaption.weight=1': r"DomainAdaptiveDetector reads no 'adaption'; .* model.adaptation",
    'model.adaptation.num_propsals=8': 'model.adaptation.num_proposals',
    'model.adaptation.spatial.drop_out=0': 'SpatialDiscriminator reads no .*spatial.dropout',
    'model.adaptation.temporal_instance.tap=layer2': 'TemporalInstanceDiscriminator reads no',
    'model.backbone.norm_evl=True': 'ResNet reads no .*model.backbone.norm_eval',
    'model.test_cfg.rcnn.score_threshold=0': r'model.test_cfg.rcnn reads no .*score_thr',
    'optim_wrapper.optimizer.learning_rate=1': 'AdamW reads no',
    'optim_wrapper.optimiser.lr=1': "OptimWrapper reads no 'optimiser'; .*optim_wrapper.optimizer",
    'optim_wrapper.clip_grad.max_nrom=1': 'optim_wrapper.clip_grad.max_norm',
    'param_scheduler.0.ends=3': 'LinearLR reads no .*param_scheduler.0.end',
    'param_scheduler.7.end=3': 'Index 7',
    'train_cfg.max_iter=3': 'DrawTrainLoop reads no .*train_cfg.max_iters',
    'train_dataloader.batchsize=3': 'train_dataloader reads no .*train_dataloader.batch_size',
    'train_dataloader.dataset.trian_on=source': 'DualDomainDataset reads no .*train_on',
    'train_dataloader.dataset.source.clases=[a]': 'ActionTubeDataset reads no .*classes',
    'train_dataloader.dataset.source.pipeline.0.clip_length=3': 'SampleKeyFrameClip .*clip_len',
    'train_dataloader.sampler.sed=3': 'DrawSampler reads no .*train_dataloader.sampler.seed',
    'test_evaluator.maxgap=3': 'TubeMetric reads no .*test_evaluator.max_gap',
    'default_hooks.chekpoint.interval=1': 'default_hooks reads no .*default_hooks.checkpoint',
    'default_hooks.checkpoint.intervall=1': 'AtomicCheckpointHook reads no .*interval',
    'default_hooks.adaptation_weight.max_wieght=1': 'AdaptationWeightHook reads no .*max_weight',
    'randomness.sed=1': 'randomness.seed',
    'env_cfg.cudnn_bench=True': 'env_cfg.cudnn_benchmark',
    'lr=0.1': "nothing reads 'lr'; read are optim_wrapper.optimizer.lr",
}
EFFECTIVE = [
    'model.adaptation=None', 'model.adaptation.lambda_mode=grl_coefficient',
    'model.adaptation.spatial.tap=layer2', 'model.domain_norm=target',
    'model.backbone.with_cp=True', 'model.rpn_head.anchor_generator.scales=[1,2]',
    'model.rpn_head.anchor_generator.center_offset=0.5',
    'model.roi_head.bbox_roi_extractor.roi_layer.aligned=False',
    'model.test_cfg.rcnn.nms.type=nms', 'model.roi_head.shared_head.norm_momentum=0.1',
    'model.clip_backbone.frozen_end_point=Mixed_3b', 'model.train_cfg.rcnn.sampler.num=3',
    'model.train_cfg.rpn.assigner.ignore_wrt_candidates=False', 'optim_wrapper.optimizer.lr=1',
    'optim_wrapper.optimizer.eps=1', 'optim_wrapper.accumulative_counts=2',
    'optim_wrapper.type=BFloat16OptimWrapper', 'optim_wrapper.paramwise_cfg.norm_decay_mult=0',
    'optim_wrapper.clip_grad=None', 'param_scheduler=None', 'param_scheduler.1.T_max=3',
    'train_cfg.max_iters=3', 'train_cfg.val_begin=3', 'val_cfg=None', 'test_cfg.fp16=True',
    'train_dataloader.batch_size=2', 'train_dataloader.prefetch_factor=2',
    'train_dataloader.dataset.train_on=source',
    'train_dataloader.dataset.source.key_frame_stride=3',
    'train_dataloader.dataset.source.indices=8',
    'train_dataloader.dataset.source.pipeline.0.clip_len=4', 'test_evaluator.max_gap=3',
    'test_evaluator.dump=x.npz', 'test_evaluator.protocol=voc',
    'default_hooks.checkpoint.interval=1', 'default_hooks.checkpoint.save_last=False',
    'default_hooks.finite.allowed_skips=3', 'default_hooks.ema.type=EMAHook',
    'default_hooks.logger=None', 'randomness.seed=1', 'randomness.deterministic=True',
    'work_dir=x', 'load_from=x', 'resume=True', 'find_unused_parameters=True',
    'auto_scale_lr.enable=True', 'env_cfg.dist_cfg.backend=gloo',
    'visualizer.vis_backends.0.type=TensorboardVisBackend', 'log_processor.window_size=1',
    'allow_transductive=True', 'log_level=WARNING', 'default_scope=mmstal_da', 'experiment_name=x',
]  # fmt: skip


def options(*texts: str) -> dict:
    tool = load_tool('train')
    return tool.make_parser().parse_args(['x', '--cfg-options', *texts]).cfg_options


@pytest.mark.slow
@pytest.mark.parametrize('option', SILENT)
def test_an_override_without_effect_is_refused(option):
    with pytest.raises(UsageError, match=SILENT[option]) as error:
        load_config(str(FULL), options(option))
    assert option.partition('=')[0] in str(error.value) or option.startswith('param_scheduler.7')


@pytest.mark.slow
@pytest.mark.parametrize('option', EFFECTIVE)
def test_an_override_with_effect_is_taken(option):
    cfg = load_config(str(FULL), options(option))
    node, (key, value) = cfg, next(iter(options(option).items()))
    for part in key.split('.'):
        node = node[int(part)] if part.isdigit() else node[part]
    assert node == value


@pytest.mark.slow
def test_several_together():
    cfg = load_config(
        str(FULL), options('default_hooks.ema.type=EMAHook', 'default_hooks.ema.momentum=1')
    )
    assert cfg.default_hooks.ema.momentum == 1
    with pytest.raises(
        UsageError, match=r"EMAHook reads no 'begin_iters'; .*default_hooks\.ema\.begin_iter"
    ):
        load_config(
            str(FULL), options('default_hooks.ema.type=EMAHook', 'default_hooks.ema.begin_iters=1')
        )


def test_a_dict_as_value_is_looked_into():
    cfg = Config.fromfile(FULL)
    override(cfg, {'optim_wrapper.optimizer': dict(lr=2, betas=(0.5, 0.5))}, 'full.py')
    assert cfg.optim_wrapper.optimizer.lr == 2
    with pytest.raises(UsageError, match="AdamW reads no 'beta'; .*betas"):
        override(cfg, {'optim_wrapper.optimizer': dict(beta=2)}, 'full.py')


def test_variables_of_other_pairs_are_named(monkeypatch):
    """A pair whose file has the clip and the class map as variables."""
    with pytest.raises(UsageError, match=r"'class_map' is used up .*source\.class_map"):
        load_config(str(PAIR), options('class_map.golf=x'))
    with pytest.raises(UsageError, match=r"'clip' is used up .*source\.pipeline\.0\.clip_len"):
        load_config(str(PAIR), options('clip.clip_len=4'))


def test_a_stock_config_of_mmaction_takes_its_own(stock_config):
    chosen = ('model.backbone.depth=18', 'model.cls_head.dropout_ratio=0', 'train_cfg.max_epochs=1')
    load_config(str(stock_config), options(*chosen))
    with pytest.raises(UsageError, match="TSNHead reads no 'dropout'; .*dropout_ratio"):
        load_config(str(stock_config), options('model.cls_head.dropout=0'))
    with pytest.raises(UsageError, match="'data_root' is used up"):
        load_config(str(stock_config), options('data_root=x'))


@pytest.fixture
def stock_config():
    from tests.test_tools.conftest import STOCK

    return STOCK


@pytest.mark.slow
@pytest.mark.parametrize(
    'tool',
    ['train', 'test', 'data/browse', 'data/dump_proposals', 'data/pseudo_tubes', 'run_table',
     'analysis_tools/domain_gap', 'analysis_tools/get_flops', 'analysis_tools/plot_curves',
     'analysis_tools/rank_checkpoints'],
)  # fmt: skip
def test_every_tool_that_takes_overrides_refuses_it(tool, tmp_path, monkeypatch, capsys):
    checkpoint = tmp_path / 'x.pth'
    checkpoint.touch()
    arguments = {
        'train': [FULL],
        'test': [FULL, checkpoint],
        'data/browse': [FULL],
        'data/dump_proposals': [FULL, checkpoint, '--out', tmp_path / 'x.npz'],
        'data/pseudo_tubes': [checkpoint, '--config', FULL, '--out', tmp_path / 'x.json'],
        'analysis_tools/domain_gap': [FULL, checkpoint, '--out', tmp_path / 'out'],
        'analysis_tools/get_flops': [FULL],
        'analysis_tools/plot_curves': ['--dry-run', FULL, '--out', tmp_path / 'x.png'],
        'analysis_tools/rank_checkpoints': [FULL, checkpoint, '--out', tmp_path / 'out'],
        'run_table': [FULL.parent, '--out', tmp_path / 'out', '--rows', 'full'],
    }[tool]
    name = Path(tool).name
    flags = [*map(str, arguments), '--cfg-options', 'modle.adaptation=None']
    monkeypatch.setattr('sys.argv', [f'{name}.py', *flags])
    monkeypatch.chdir(tmp_path)
    try:
        code = load_tool(tool).main()
    except SystemExit as end:
        code = end.code
    assert code == 2
    said = capsys.readouterr().err
    assert "nothing reads 'modle'" in said and 'Traceback' not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x.pth']  # nothing was written


def test_a_row_that_cannot_take_it_is_named():
    option = ['model.adaptation.num_proposals=8']
    read_config(CONFIGS / 'synthetic_a/full.py', option)
    with pytest.raises(UsageError, match="FastRCNN reads no 'adaptation'"):
        read_config(CONFIGS / 'synthetic_a/slowonly.py', option)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['tarin_cfg', 'optim_wraper', 'default_hook', 'train_dataloaders'])
def test_a_misspelt_key_of_a_file_is_named(name, tmp_path):
    path = tmp_path / 'x.py'
    path.write_text(f'_base_ = {str(FULL)!r}\n{name} = dict(anything=3)\n')
    with pytest.raises(ConfigError, match=f'nothing reads {name!r}; was .* meant'):
        load_config(str(path))


@pytest.mark.slow
def test_names_of_our_files_are_no_mistakes():
    for name in RUNNABLE:
        check_names(Config.fromfile(CONFIGS / name, import_custom_modules=False), name)
    assert {'model', 'train_cfg', 'randomness', 'work_dir', 'sync_bn'} <= READ


@pytest.mark.parametrize(
    ('text', 'words'),
    [('model = dict(', 'SyntaxError'), ('x = 1 / 0\n', 'ZeroDivisionError'),
     ("_base_ = './absent.py'\n", 'absent.py')],
)  # fmt: skip
def test_a_file_that_is_no_config(text, words, tmp_path):
    path = tmp_path / 'x.py'
    path.write_text(text)
    with pytest.raises(UsageError, match=f'config {path} cannot be read: .*{words}'):
        load_config(str(path))
