"""Makes a synthetic pair on disk: videos, two annotation files and a manifest, or nothing.

Layout of the output folder::

    source.json  target.json            annotation files, splits `train` and `test`
    source/<class>/source_train_000.mp4
    target/<class>/target_test_003.mp4
    synthetic.json                      the parameters of the pair
"""

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmstal_da.tubes.annotation import Annotation, Tube, Video, save_annotation
from mmstal_da.utils.io import atomic_write, lock, remove_leftovers
from mmstal_da.video.writer import write_video

from .clip import FPS, ClipSettings, render_clip, sample_clip
from .config import GENERATOR, SyntheticConfig
from .domains import Shift

MANIFEST = 'synthetic.json'
DOMAINS = ('source', 'target')
SPLITS = ('train', 'test')


class OutputExistsError(RuntimeError):
    """The output folder holds something other than the requested pair."""


@dataclass(frozen=True)
class ClipTask:
    """One clip to make; picklable, and independent of all others."""

    domain: str
    split: str
    name: str
    label: str
    path: str
    seed: tuple[int, ...]
    settings: ClipSettings
    shift: Shift
    crf: int


def generate(
    out: str | os.PathLike[str],
    config: SyntheticConfig,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Make a pair, completely or not at all.

    Everything is written into a temporary folder next to ``out``. It replaces ``out`` when it is
    complete. What a killed process left is removed at the next start.

    Args:
        out: Output folder.
        config: What to make. The result depends on nothing else.
        workers: Number of processes.
        overwrite: Replace a folder that was made with other parameters.
        progress: Called with the number of finished clips and of all clips.

    Returns:
        False if ``out`` already held exactly this pair and nothing was done.

    Raises:
        OutputExistsError: ``out`` holds something else; the message says what to do.
    """
    out = Path(out).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ('.partial', '.old'):
        remove_leftovers(out.parent, f'.{out.name}.', suffix, age=0)
    if _is_up_to_date(out, config, overwrite):
        return False
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f'.{out.name}.', suffix='.partial'))
    held = os.open(partial, os.O_RDONLY)
    try:
        lock(held)
        partial.chmod(0o755)
        _make(partial, config, workers, progress or (lambda done, total: None))
        _replace(out, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(held)
    return True


def plan_clips(config: SyntheticConfig) -> list[ClipTask]:
    """All clips of a pair, in the order of the annotation files."""
    tasks = []
    for domain_index, domain in enumerate(DOMAINS):
        shift = config.shift if domain == 'target' else Shift()
        untrimmed = config.clip.untrimmed and domain == 'target'
        for split_index, split in enumerate(SPLITS):
            for index in range(getattr(config, f'{domain}_{split}')):
                label = config.classes[index % len(config.classes)]
                stem = f'{domain}_{split}_{index:03d}'
                tasks.append(
                    ClipTask(
                        domain=domain,
                        split=split,
                        name=f'{label}/{stem}',
                        label=label,
                        path=f'{domain}/{label}/{stem}.mp4',
                        seed=(config.seed, domain_index, split_index, index),
                        settings=replace(config.clip, untrimmed=untrimmed),
                        shift=shift,
                        crf=config.crf,
                    )
                )
    return tasks


def make_clip(task: ClipTask, folder: str | os.PathLike[str]) -> tuple[Video, list[Tube]]:
    """Render one clip, write its video under ``folder`` and return its annotation."""
    cv2.setNumThreads(1)
    settings = task.settings
    clip = sample_clip(task.label, np.random.SeedSequence(task.seed), settings, task.shift)
    frames, tubes = render_clip(clip)
    write_video(Path(folder) / task.path, frames, FPS, task.crf)
    video = Video(task.path, len(frames), settings.width, settings.height, fps=float(FPS))
    return video, [Tube(task.label, numbers, boxes) for numbers, boxes in tubes if len(numbers)]


def _make(
    folder: Path, config: SyntheticConfig, workers: int, progress: Callable[[int, int], None]
) -> None:
    """Fill an empty folder."""
    tasks = plan_clips(config)
    for task in tasks:
        (folder / task.path).parent.mkdir(parents=True, exist_ok=True)
    made = {}
    progress(0, len(tasks))
    for index, result in _run(tasks, folder, workers):
        made[index] = result
        progress(len(made), len(tasks))
    for domain in DOMAINS:
        annotation = Annotation(
            f'synthetic_{domain}', list(config.classes), splits={split: [] for split in SPLITS}
        )
        for index, task in enumerate(tasks):
            if task.domain == domain:
                annotation.videos[task.name], annotation.tubes[task.name] = made[index]
                annotation.splits[task.split].append(task.name)
        save_annotation(annotation, folder / f'{domain}.json')
    with atomic_write(folder / MANIFEST) as file:
        file.write(json.dumps(config.to_dict(), indent=1) + '\n')


def _run(
    tasks: list[ClipTask], folder: Path, workers: int
) -> Iterator[tuple[int, tuple[Video, list[Tube]]]]:
    """Make all clips; yields the index and result of every task when it finishes."""
    if workers <= 1:
        threads = cv2.getNumThreads()
        try:
            for index, task in enumerate(tasks):
                yield index, make_clip(task, folder)
        finally:
            cv2.setNumThreads(threads)
        return
    # spawned, because a fork of a process with threads (OpenCV, torch) may deadlock
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {pool.submit(make_clip, task, folder): i for i, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _is_up_to_date(out: Path, config: SyntheticConfig, overwrite: bool) -> bool:
    """Whether ``out`` holds the pair already; raises if it holds what must not be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    manifest = out / MANIFEST
    if not manifest.is_file():
        raise OutputExistsError(
            f'{out} exists and was not made by this tool (it has no {MANIFEST}): '
            'choose another --out, or remove it yourself'
        )
    wanted = config.to_dict()
    try:
        found = json.loads(manifest.read_text(encoding='utf-8'))
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        found = {}
    if found.get('generator') != GENERATOR:
        raise OutputExistsError(
            f'{manifest} is not a manifest of {GENERATOR}: '
            'choose another --out, or remove the folder yourself'
        )
    files = [f'{domain}.json' for domain in DOMAINS] + [task.path for task in plan_clips(config)]
    differences = _differences(found, wanted)
    if not differences:
        missing = [name for name in files if not (out / name).is_file()]
        if not missing:
            return not overwrite
        differences = [f'{len(missing)} files are missing, the first is {missing[0]}']
    if not overwrite:
        raise OutputExistsError(
            f'{out} holds another synthetic pair ({"; ".join(differences)}): '
            'pass --overwrite to replace it, or choose another --out'
        )
    return False


def _differences(found: dict[str, Any], wanted: dict[str, Any], prefix: str = '') -> list[str]:
    """The differences of two nested dicts, as ``key is X, not Y``."""
    lines = []
    for key in sorted(found.keys() | wanted.keys()):
        old, new = found.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            inner = '' if key == 'parameters' else f'{prefix}{key}.'
            lines += _differences(old, new, inner)
        elif old != new:
            lines.append(f'{prefix}{key} is {old}, not {new}')
    return lines


def _replace(out: Path, partial: Path) -> None:
    """Move a complete folder to ``out``, replacing what is there."""
    if not out.exists():
        os.rename(partial, out)
        return
    retired = Path(tempfile.mkdtemp(dir=out.parent, prefix=f'.{out.name}.', suffix='.old'))
    os.rename(out, retired / out.name)
    os.rename(partial, out)
    shutil.rmtree(retired)
