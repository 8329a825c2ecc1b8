"""What an ONNX file carries beside the network, in ``metadata_props``.

=================  ==============================================================================
``format``         ``mmstal_da.detector``
``version``        of these keys: ``1``
``classes``        JSON: the class names, which labels number from 0
``preprocessing``  JSON for other programs: ``clip_len``, ``frame_interval`` and ``key_index`` (of
                   the key frame in the clip, from 0); ``clip_mean``, ``clip_std``, ``key_mean``,
                   ``key_std`` and ``key_bgr`` as ``ClipKeyFramePreprocessor`` explains them;
                   ``pipeline``, the transforms of the test data
``config``         the whole config as a Python literal, from which ``ActionTubeInferencer``
                   builds the transforms; it is read without running code
=================  ==============================================================================
"""

import ast
import json
import pprint
from collections.abc import Mapping

from mmengine.config import Config

from mmstal_da.errors import UsageError
from mmstal_da.models.data_preprocessors import ClipKeyFramePreprocessor
from mmstal_da.registry import TRANSFORMS

from .loading import pipeline_of

FORMAT, VERSION = 'mmstal_da.detector', '1'


def to_metadata(
    cfg: Config, classes: list[str], preprocessor: ClipKeyFramePreprocessor
) -> dict[str, str]:
    """The keys and values of the table above.

    Raises:
        UsageError: The config holds an object that text cannot.
    """
    content = cfg.to_dict()
    text = pprint.pformat(content, width=120, sort_dicts=False)
    try:
        same = ast.literal_eval(text) == content
    except (ValueError, SyntaxError):
        same = False
    if not same:
        wrong = [key for key, value in content.items() if not _is_literal(value)]
        raise UsageError(
            f'the config keys {wrong} hold objects that an ONNX file cannot carry as text; give a'
            ' config of numbers, strings, lists and dicts (--config)'
        )
    pipeline = pipeline_of(cfg)
    clip = TRANSFORMS.build(pipeline[0])
    mean_and_std = {
        name: getattr(preprocessor, name).flatten().tolist()
        for name in ('clip_mean', 'clip_std', 'key_mean', 'key_std')
    }
    preprocessing = dict(
        clip_len=clip.clip_len,
        frame_interval=clip.frame_interval,
        key_index=clip.clip_len // 2,
        **mean_and_std,
        key_bgr=preprocessor.key_bgr,
        pipeline=[dict(stage) for stage in pipeline],
    )
    return dict(
        format=FORMAT,
        version=VERSION,
        classes=json.dumps(classes),
        preprocessing=json.dumps(preprocessing),
        config=text,
    )


def from_metadata(metadata: Mapping[str, str], path: str) -> tuple[Config, list[str]]:
    """The config and the class names.

    Raises:
        UsageError: The file at ``path`` was not written by ``tools/export_onnx.py``, or by a newer
            version.
    """
    if metadata.get('format') != FORMAT:
        raise UsageError(
            f'{path} carries no class names and no preprocessing: tools/export_onnx.py did not'
            ' write it; export the checkpoint with it'
        )
    if metadata.get('version') != VERSION:
        raise UsageError(
            f'{path} has metadata of version {metadata.get("version")}, this mmstal_da reads'
            f' {VERSION}; export the checkpoint with this mmstal_da'
        )
    try:
        return Config(ast.literal_eval(metadata['config'])), json.loads(metadata['classes'])
    except (KeyError, ValueError, SyntaxError, TypeError) as error:
        raise UsageError(f'{path}: its metadata are damaged ({error}); export it again') from error


def _is_literal(value: object) -> bool:
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False
