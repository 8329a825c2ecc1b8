"""bfloat16 only where the hardware has it, and the record of what ran."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mmstal_da.engine import BFloat16OptimWrapper, precision
from mmstal_da.engine.hooks import PrecisionHook
from mmstal_da.engine.hooks.precision_hook import training_precision
from mmstal_da.experiments.record import read_metrics
from mmstal_da.launch.runner import computes_in_bfloat16
from tests.tiny_runner import RisingScore, make_runner

ZEN3 = 'processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx avx2 fma\n\n'
ZEN4 = ZEN3.replace('avx2', 'avx2 avx512f avx512_bf16')
# AVX512 without its bfloat16 extension emulates it, too
SKYLAKE = ZEN3.replace('avx2', 'avx2 avx512f avx512bw avx512vl')
SAPPHIRE = SKYLAKE.replace('avx512f', 'avx512f amx_bf16')
ARM = 'processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n'


@pytest.fixture(params=[True, False], ids=['native', 'emulated'])
def native(request, monkeypatch) -> bool:
    monkeypatch.setattr(precision, 'has_native_bfloat16', lambda device=None: request.param)
    precision._say_float32.cache_clear()
    return request.param


@pytest.mark.parametrize(
    ('cpuinfo', 'expected'),
    [(ZEN3, False), (SKYLAKE, False), (ZEN4, True), (SAPPHIRE, True), (ARM, True)],
)
def test_flags_of_processors(tmp_path, monkeypatch, cpuinfo, expected):
    (tmp_path / 'cpuinfo').write_text(cpuinfo)
    monkeypatch.setattr(precision, 'CPUINFO', tmp_path / 'cpuinfo')
    assert precision.has_native_bfloat16('cpu') is expected
    monkeypatch.setattr(precision, 'CPUINFO', tmp_path / 'none')
    assert precision.has_native_bfloat16('cpu') is False


@pytest.mark.parametrize('expected', [True, False])
def test_gpus_are_asked_without_emulation(monkeypatch, expected):
    def supported(including_emulation: bool = True) -> bool:
        return expected or including_emulation

    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', supported)
    assert precision.has_native_bfloat16('cuda:1') is expected


def make_wrapper() -> BFloat16OptimWrapper:
    return BFloat16OptimWrapper(torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=1.0))


def test_the_wrapper_computes_in_what_is_native(native):
    wrapper, layer = make_wrapper(), torch.nn.Linear(2, 2)
    with wrapper.optim_context(layer):
        output = layer(torch.ones(1, 2))
    assert output.dtype == (torch.bfloat16 if native else torch.float32)
    assert training_precision(wrapper) == ('bfloat16' if native else 'float32')


def test_other_wrappers():
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=1.0)
    assert training_precision(OptimWrapper(optimizer)) == 'float32'
    amp = AmpOptimWrapper.__new__(AmpOptimWrapper)  # whose constructor asks for a GPU
    amp.loss_scaler, amp.cast_dtype = None, None
    assert training_precision(amp) == 'float16'
    amp.cast_dtype = torch.bfloat16
    assert training_precision(amp) == 'bfloat16'


def test_it_is_said_once(native, monkeypatch):
    said = []
    monkeypatch.setattr(precision, 'print_log', lambda message, logger: said.append(message))
    make_wrapper(), make_wrapper()
    assert len(said) == (0 if native else 1)
    assert native or 'this runs in float32' in said[0]


def test_whether_a_config_computes_in_bfloat16_here(native, monkeypatch):
    monkeypatch.setattr('mmstal_da.launch.runner.has_native_bfloat16', lambda: native)
    for cfg in (
        dict(optim_wrapper=dict(type='BFloat16OptimWrapper')),
        dict(test_cfg=dict(fp16=True)),
    ):
        assert computes_in_bfloat16(Config(cfg)) is native
    assert not computes_in_bfloat16(Config(dict(test_cfg=dict(fp16=False))))


def run_and_test(folder, iterations: int, resume: bool = False) -> dict:
    """Train, validate and test with ``fp16``; the metrics that a record reads."""
    runner = make_runner(
        folder,
        iterations,
        dict(save_best=None),
        custom_hooks=[PrecisionHook()],
        test_dataloader=None,
        resume=resume,
    )
    runner.optim_wrapper = make_bfloat16(runner)
    runner._val_loop = dict(fp16=True)
    runner.train()
    tester = make_runner(folder / 'test', iterations, dict(save_best=None))
    tester.register_hook(PrecisionHook())
    tester._test_dataloader = tester._val_dataloader
    tester._test_evaluator = Evaluator(RisingScore())
    tester._test_loop = dict(fp16=True)
    tester._load_from = (folder / 'last_checkpoint').read_text()
    tester.test()
    (file,) = (folder / 'test').glob(f'{tester.timestamp}/*.json')
    assert runner.val_loop.fp16 is tester.test_loop.fp16
    return json.loads(file.read_text())


def make_bfloat16(runner) -> dict:
    return dict(type='mmstal_da.BFloat16OptimWrapper', optimizer=dict(type='Adam', lr=0.1))


def test_metrics_say_what_trained_and_tested(tmp_path, native):
    metrics = run_and_test(tmp_path, 2)
    expected = 'bfloat16' if native else 'float32'
    assert metrics['train_precision'] == metrics['test_precision'] == expected


def test_a_run_that_moved_to_another_machine_says_both(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, 'has_native_bfloat16', lambda device=None: True)
    assert run_and_test(tmp_path, 2)['train_precision'] == 'bfloat16'
    monkeypatch.setattr(precision, 'has_native_bfloat16', lambda device=None: False)
    assert run_and_test(tmp_path, 4, resume=True)['train_precision'] == 'bfloat16+float32'


def test_the_record_reads_them(tmp_path):
    logged = {f'video_mAP@{iou}': 1.0 for iou in ('0.2', '0.5', '0.75', '0.5:0.95')}
    logged |= {'frame_mAP@0.5': 1.0, 'train_precision': 'float32', 'test_precision': 'bfloat16'}
    (tmp_path / 'now').mkdir()
    (tmp_path / 'now/now.json').write_text(json.dumps(logged))
    metrics = read_metrics(tmp_path)
    assert (metrics['train_precision'], metrics['test_precision']) == ('float32', 'bfloat16')
