import collections
import os
import pickle

import numpy as np
import pytest

from mmstal_da.utils.safe_pickle import UnsafePickleError, load_pickle


class Evil:
    def __reduce__(self):
        return print, ('called',)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_survive(tmp_path, protocol):
    data = {
        'array': np.arange(6, dtype=np.float32).reshape(2, 3),
        'strings': np.array(['a', 'bc']),
        'scalar': np.uint8(200),
        'nested': collections.OrderedDict(a=[(1, 2.5, None, True)], b={'x'}),
        'default': collections.defaultdict(list, {3: [np.int64(4)]}),
        'bytes': b'\x00\xff',
    }
    path = tmp_path / 'data.pkl'
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    read = load_pickle(path)
    np.testing.assert_array_equal(read['array'], data['array'])
    assert read['array'].dtype == np.float32
    assert read['strings'].tolist() == ['a', 'bc']
    assert read['scalar'] == 200
    for key in ('nested', 'default', 'bytes'):
        assert read[key] == data[key]


def test_anything_else_is_named_and_not_called(tmp_path, capsys):
    path = tmp_path / 'evil.pkl'
    path.write_bytes(pickle.dumps({'videos': [], 'x': Evil()}))
    with pytest.raises(UnsafePickleError, match=r'evil\.pkl: the pickle asks for builtins\.print'):
        load_pickle(path)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('name', ['os\nsystem', 'numpy\nload', 'builtins\neval', 'numpy.f2py\nx'])
def test_globals_of_numpy_and_the_standard_library_are_refused(tmp_path, name):
    path = tmp_path / 'global.pkl'
    path.write_bytes(f'c{name}\n.'.encode())
    with pytest.raises(UnsafePickleError, match=name.replace('\n', '.')):
        load_pickle(path)


@pytest.mark.parametrize('content', [b'', b'\x80', b'not a pickle', pickle.dumps([1, 2])[:-2]])
def test_broken_files(tmp_path, content):
    path = tmp_path / 'broken.pkl'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'broken\.pkl: not a readable pickle'):
        load_pickle(path)


@pytest.mark.slow
def test_real_files(test_data):
    gt = load_pickle(test_data / 'act_format' / 'multisports_one_video_gt.pkl')
    assert set(gt) == {'labels', 'test_videos', 'nframes', 'gttubes', 'resolution'}
    assert len(load_pickle(test_data / 'ucf101_24' / 'pyannot.pkl')) == 3194


@pytest.mark.parametrize('core', [b'numpy.core', b'numpy._core'])
def test_either_name_of_numpys_core_is_read(tmp_path, core):
    """NumPy 2 renamed it; files of either side are read by either."""
    written = pickle.dumps(np.arange(3), protocol=2)
    written = written.replace(b'numpy._core', b'numpy.core').replace(b'numpy.core', core)
    (tmp_path / 'data.pkl').write_bytes(written)
    assert load_pickle(tmp_path / 'data.pkl').tolist() == [0, 1, 2]


def array_of(shape: tuple, kind: bytes = b'b') -> bytes:
    """A pickle that makes an array of a shape, without data."""
    numbers = b''.join(b'\x8a\x08' + n.to_bytes(8, 'little') for n in shape)
    return (
        b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(' + numbers
        + b'tC\x01' + kind + b'tR.'
    )  # fmt: skip


HOSTILE = {
    'memo': b'\x80\x02]r\xff\xff\xff\x7f.',
    'memo of a gigabyte': b'\x80\x02]r\x00\x00\x00\x04.',
    'memo in text': b'(lp99999999999\n.',
    'array': array_of((10**12,)),
    'small array': array_of((1000,)),  # its numbers would be whatever was in memory
    'ndarray': b'\x80\x02cnumpy\nndarray\nM\xe8\x03\x85R.',
    'bytearray': b'\x80\x02cbuiltins\nbytearray\nJ\x40\x42\x0f\x00\x85R.',
    'long text': b'\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.',
    'long bytes': b'\x80\x05\x96\xff\xff\xff\xff\x00\x00\x00\x00.',
    'frame': b'\x80\x04\x95\xff\xff\xff\xff\xff\xff\x00\x00N.',
    'unhashable': b'\x80\x02(]Nd.',
}


@pytest.mark.parametrize('case', HOSTILE)
def test_tiny_pickles_that_ask_for_much(tmp_path, case):
    path = tmp_path / 'tiny.pkl'
    path.write_bytes(HOSTILE[case])
    with pytest.raises(ValueError, match=r'tiny\.pkl'):
        load_pickle(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'x.pkl')
    with pytest.raises(FileNotFoundError, match=r'x\.pkl'):
        load_pickle(tmp_path / 'x.pkl')
