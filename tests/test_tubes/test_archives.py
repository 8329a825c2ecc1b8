"""An archive is read to its end or not at all."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mmstal_da.errors import AnnotationError
from mmstal_da.tubes.converters.archives import tar_members, zip_member
from mmstal_da.tubes.converters.cvat import from_cvat
from mmstal_da.tubes.converters.ucf_sports import from_gt_tree

VIDEOS = 12


def plain_tar() -> bytes:
    """UCF-Sports in small: 12 videos of 3 boxes, whose numbers do not compress well."""
    rng = np.random.default_rng(0)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.GNU_FORMAT) as archive:
        for video in range(VIDEOS):
            for frame in range(3):
                x, y, w, h = rng.integers(10, 60, 4)
                text = f'{x} {y} {w} {h} {rng.integers(1 << 60)}\n'.encode()
                info = tarfile.TarInfo(f'Annotations/Diving/{video:03d}/gt/{frame:05d}.tif.txt')
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
    return out.getvalue()


PACK = {'.tar': bytes, '.tar.gz': gzip.compress, '.tar.bz2': bz2.compress, '.tar.xz': lzma.compress}


@pytest.mark.parametrize('suffix', PACK)
def test_a_whole_archive_is_read(tmp_path, suffix):
    path = tmp_path / f'x{suffix}'
    path.write_bytes(PACK[suffix](plain_tar()))
    assert len(from_gt_tree(path).videos) == VIDEOS
    names = [name for name, _ in tar_members(path, '.txt', 100)]
    with tarfile.open(path) as archive:
        assert names == archive.getnames()


@pytest.mark.parametrize('suffix', ['.tar.gz', '.tar.bz2', '.tar.xz'])
def test_a_wrong_byte_in_a_compressed_archive_is_an_error(tmp_path, suffix):
    path, whole = tmp_path / f'x{suffix}', PACK[suffix](plain_tar())
    expected = from_gt_tree_of(path, whole)
    rng = np.random.default_rng(1)
    for place in rng.integers(12, len(whole), 60).tolist():
        data = bytearray(whole)
        data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            found = from_gt_tree(path)
        except AnnotationError as error:
            assert str(path) in str(error)
        else:  # a byte that says nothing, such as the name of the packed file
            assert found == expected


def from_gt_tree_of(path: Path, data: bytes):
    path.write_bytes(data)
    return from_gt_tree(path)


@pytest.mark.parametrize('suffix', PACK)
def test_an_archive_that_is_cut_off_is_an_error(tmp_path, suffix):
    path, whole = tmp_path / f'x{suffix}', PACK[suffix](plain_tar())
    # a tar ends with zeros, of which the second half are only for tapes
    end = len(whole.rstrip(b'\0')) if suffix == '.tar' else len(whole) - 1
    places = np.linspace(1, end, 40, dtype=int).tolist()
    places += [k * 512 for k in range(1, end // 512)] if suffix == '.tar' else []
    for place in places:
        path.write_bytes(whole[:place])
        with pytest.raises(AnnotationError, match=path.name):
            from_gt_tree(path)


def test_a_wrong_header_in_a_plain_archive_is_an_error(tmp_path):
    path, whole = tmp_path / 'x.tar', plain_tar()
    for header in range(1024, 1024 * VIDEOS * 3, 3 * 1024):
        data = bytearray(whole)
        data[header + 20] ^= 1  # the name: its checksum is wrong then
        path.write_bytes(data)
        with pytest.raises(AnnotationError, match=r'x\.tar is a damaged tar archive'):
            from_gt_tree(path)


def test_two_archives_in_one_are_an_error(tmp_path):
    (tmp_path / 'x.tar').write_bytes(plain_tar() * 2)
    with pytest.raises(AnnotationError, match=r'x\.tar is a damaged tar archive'):
        from_gt_tree(tmp_path / 'x.tar')


def test_two_copies_of_a_video_are_an_error(tmp_path):
    for copy in ('old', 'new'):
        folder = tmp_path / 'gt' / copy / 'Diving/001/gt'
        folder.mkdir(parents=True)
        (folder / f'{copy}.tif.txt').write_text('1 2 30 40 x\n')
    with pytest.raises(AnnotationError, match=r"video 'Diving/001' is in '.*new' and in '.*old'"):
        from_gt_tree(tmp_path / 'gt')


XML = '<annotations><meta><task><name>a</name><size>{n}</size></task></meta>{tracks}</annotations>'


def cvat_zip() -> bytes:
    boxes = ''.join(
        f'<box frame="{n}" outside="0" xtl="{n}" ytl="2" xbr="{n + 30}" ybr="40"/>'
        for n in range(200)
    )
    text = XML.format(n=200, tracks=f'<track id="0" label="run">{boxes}</track>')
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('annotations.xml', text)
    return out.getvalue()


def test_a_wrong_byte_in_a_zip_is_an_error(tmp_path):
    path, whole = tmp_path / 'x.zip', cvat_zip()
    path.write_bytes(whole)
    expected = from_cvat(path, [])
    rng = np.random.default_rng(2)
    for place in rng.integers(30, len(whole), 60).tolist():
        data = bytearray(whole)
        data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            found = from_cvat(path, [])
        except AnnotationError as error:
            assert 'x.zip' in str(error)
        else:
            assert found == expected
    for place in (3, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:place])
        with pytest.raises(AnnotationError, match=r'x\.zip is not a readable zip archive'):
            from_cvat(path)


def test_a_zip_with_two_files_of_the_name_is_refused(tmp_path):
    path = tmp_path / 'x.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for name in ('a/annotations.xml', 'b/annotations.xml'):
            archive.writestr(name, '<annotations/>')
    with (
        pytest.raises(AnnotationError, match=r'holds 2 annotations\.xml: give an export'),
        zip_member(path, ('annotations.xml',), 'an export'),
    ):
        pass
