"""What batch norm must know about a batch: whose its rows are, and where its images end.

Images of different sizes are padded to one size. Features of the padding would say of which size an
image is, and so of which domain. Batch norm is therefore computed on the images alone, and the
padding behind it is zero. The next convolution then sees at an image's end what it sees at the end
of a map: zeros. So the features of an image are the same whatever is beside it in the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Extents = tuple[tuple[int, int], ...]
"""Rows and columns of a feature map that an image covers, of every image of a batch."""

# layers that make zeros of zeros, and of which batch norm repairs the border
HARMLESS = (
    nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Identity,
    nn.MaxPool2d, nn.MaxPool3d, nn.Dropout, nn.Dropout2d, nn.Dropout3d,
)  # fmt: skip
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Layout:
    """What a batch consists of.

    Attributes:
        num_source: The first so many rows are the source's, any others the target's. None: all are
            of one domain, as at inference.
        sizes: (height, width) of every row's image in input pixels; None: no row has padding.
        full: (height, width) to which all are padded.
    """

    num_source: int | None = None
    sizes: tuple[tuple[int, int], ...] | None = None
    full: tuple[int, int] = (0, 0)

    def extents(self, height: int, width: int) -> Extents | None:
        """What each image covers of a map ``height`` x ``width``; None if all cover all of it.

        A cell counts if a pixel of the image is among those it stands for.
        """
        if self.sizes is None:
            return None
        found = tuple(
            (-(-h * height // self.full[0]), -(-w * width // self.full[1])) for h, w in self.sizes
        )
        return None if set(found) == {(height, width)} else found


class BatchLayout:
    """The :class:`Layout` of the batch that is now computed; one for all layers of a model.

    Gradient checkpointing computes layers a second time during backward, when the contexts below
    have ended. :meth:`of` then gives the layout that the layer had before.
    """

    def __init__(self) -> None:
        self.now = Layout()
        self.step = 0
        self._in_one_step = False

    @property
    def num_source(self) -> int | None:
        """Of :attr:`now`."""
        return self.now.num_source

    def begin_step(self) -> None:
        """A new batch of images: what layers remember of the one before has no use."""
        if not self._in_one_step:
            self.step += 1

    @contextmanager
    def one_step(self) -> Iterator[None]:
        """Inside this context, several batches of images belong to one step.

        Backward follows after all of them, so what layers remember of each has a use.
        """
        self.begin_step()
        self._in_one_step = True
        try:
            yield
        finally:
            self._in_one_step = False

    @contextmanager
    def joint(self, num_source: int) -> Iterator[None]:
        """Inside this context, the first ``num_source`` rows are source, any others target."""
        with self._changed(num_source=num_source):
            yield

    @contextmanager
    def images(self, samples: Sequence) -> Iterator[None]:
        """Inside this context, the rows of a batch are the images of these samples.

        A step begins with it.

        Args:
            samples: With ``pad_shape`` and ``batch_input_shape``, see
                :class:`~mmstal_da.models.data_preprocessors.ClipKeyFramePreprocessor`. Samples
                without them have no padding.
        """
        self.begin_step()
        with self._changed(**image_sizes(samples)):
            yield

    @contextmanager
    def any_number_of_rows(self) -> Iterator[None]:
        """Inside this context, all rows of a batch, however many, are images of one size."""
        sizes = self.now.sizes
        with self._changed(sizes=sizes and sizes[:1]):
            yield

    @contextmanager
    def _changed(self, **changes) -> Iterator[None]:
        before, self.now = self.now, replace(self.now, **changes)
        try:
            yield
        finally:
            self.now = before

    def of(self, layer: nn.Module) -> Layout:
        """The layout of a layer's input.

        Raises:
            RuntimeError: A layer is computed again in backward, and it is not known for which of
                several passes.
        """
        remembered: dict = vars(layer)
        if not is_recomputed():
            if self.now == Layout() and not self._in_one_step:
                remembered.pop('_layouts', None)
            else:
                step, layouts = remembered.get('_layouts', (-1, frozenset()))
                layouts = layouts if step == self.step else frozenset()
                remembered['_layouts'] = (self.step, layouts | {self.now})
            return self.now
        _, layouts = remembered.get('_layouts', (-1, {Layout()}))
        if len(layouts) != 1:
            raise RuntimeError(
                f'gradient checkpointing (with_cp) of a {type(layer).__name__} that a step passes'
                f' with {len(layouts)} different batches: set with_cp=False in this part of the'
                ' model'
            )
        return next(iter(layouts))

    def cover(self, network: nn.Module) -> None:
        """Have the network's batch norms leave padding out, from now on.

        Layers that leave it out by themselves (statistics per domain) are left as they are.
        """
        for module in network.modules():
            if isinstance(module, _BatchNorm) and not hasattr(module, 'leaves_padding_out'):
                _ImagesOnly(self).attach(module)


class _ImagesOnly:
    """Hooks of a batch norm: it sees the images' cells alone, and padding is zero behind it."""

    def __init__(self, layout: BatchLayout) -> None:
        self.layout = layout
        self.restore: list[Callable[[Tensor], Tensor]] = []

    def attach(self, norm: _BatchNorm) -> None:
        """Do so from now on."""
        vars(norm)['leaves_padding_out'] = True
        norm.register_forward_pre_hook(self.before)
        norm.register_forward_hook(self.after)

    def before(self, norm: _BatchNorm, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """The input without padding."""
        (x,) = inputs
        extents = self.layout.of(norm).extents(*x.shape[-2:])
        if extents is None:
            self.restore.append(lambda y: y)
        elif norm.training or norm.running_mean is None:
            x, restore = without_padding(x, extents)
            self.restore.append(restore)
        else:
            self.restore.append(lambda y: zero_padding(y, extents))
        return (x,)

    def after(self, norm: _BatchNorm, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """The output in the input's shape."""
        return self.restore.pop()(output)


def is_recomputed() -> bool:
    """Whether this runs inside of a backward pass, as layers that are checkpointed do."""
    return torch._C._current_graph_task_id() != -1


def image_sizes(samples: Sequence) -> dict:
    """``sizes`` and ``full`` of :class:`Layout`."""
    metas = [sample.metainfo for sample in samples]
    if not metas or any('pad_shape' not in meta for meta in metas):
        return dict(sizes=None)
    full = tuple(metas[0]['batch_input_shape'])
    sizes = tuple(tuple(meta['pad_shape'][:2]) for meta in metas)
    return dict(sizes=None if set(sizes) == {full} else sizes, full=full)


def map_extents(samples: Sequence, feature_map: Tensor) -> Extents | None:
    """What each sample's image covers of ``(N, C, …, h, w)``; None if there is no padding."""
    return Layout(**image_sizes(samples)).extents(*feature_map.shape[-2:])


def valid_mask(extents: Extents, x: Tensor) -> Tensor:
    """``(N, 1, h, w)`` of bool for maps ``(N, C, …, h, w)``: True inside of the image."""
    if not isinstance(extents, tuple):  # of a graph that is exported, where sizes are tensors
        return extents.mask(x)
    device, (height, width) = x.device, x.shape[-2:]
    rows = torch.tensor([rows for rows, _ in extents], device=device).view(-1, 1, 1, 1)
    columns = torch.tensor([columns for _, columns in extents], device=device).view(-1, 1, 1, 1)
    along_y = torch.arange(height, device=device).view(1, 1, -1, 1)
    along_x = torch.arange(width, device=device).view(1, 1, 1, -1)
    return (along_y < rows) & (along_x < columns)


def _mask_like(x: Tensor, extents: Extents) -> Tensor:
    """:func:`valid_mask` with as many axes as ``x``: a clip has one for time."""
    mask = valid_mask(extents, x)
    return mask.unsqueeze(2) if x.ndim == 5 else mask


def zero_padding(x: Tensor, extents: Extents | None) -> Tensor:
    """``(N, C, …, h, w)`` with zeros beyond every image's end, also where it was not finite.

    The memory format stays, which ``masked_fill`` would not keep of a clip.
    """
    return x if extents is None else torch.where(_mask_like(x, extents), x, 0.0)


def image_cells(x: Tensor, extents: Extents | None) -> Tensor:
    """All cells of the images as rows of channels: ``(N, C, …, h, w)`` to ``(L, C)``."""
    last = x.movedim(1, -1)  # (N, …, h, w, C)
    if extents is None:
        return last.reshape(-1, x.shape[1])
    return last[_mask_like(x, extents).squeeze(1).expand(last.shape[:-1])]


def without_padding(x: Tensor, extents: Extents) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """A tensor of the images' cells alone, with as many axes as ``x``, and the way back.

    Args:
        x: ``(N, C, …, h, w)``.
        extents: Of its N images.

    Returns:
        The cells, and a function that puts such a tensor into the shape of ``x``, with zeros in the
        padding.
    """
    height, width = x.shape[-2:]
    if len(set(extents)) == 1:  # a part of the map, without a copy of single cells
        rows, columns = extents[0]
        pad = (0, width - columns, 0, height - rows)
        return x[..., :rows, :columns], lambda y: nn.functional.pad(y, pad)
    where = _mask_like(x, extents).squeeze(1).expand(x.shape[0], *x.shape[2:])
    cells = image_cells(x, extents)

    def restore(y: Tensor) -> Tensor:
        # channels last, as the cells are read; checkpointing takes no view
        whole = y.new_zeros((x.shape[0], *x.shape[2:], x.shape[1])).movedim(-1, 1).clone()
        whole.movedim(1, -1)[where] = y.reshape(y.shape[1], -1).t()
        return whole

    return cells.t().reshape(1, x.shape[1], -1, *[1] * (x.ndim - 3)), restore


def extend_edges(x: Tensor, extents: Extents | None) -> Tensor:
    """``(N, C, h, w)`` whose padding repeats the image's last row and column.

    RoIAlign takes the nearest cell where it samples beyond the last one of a map. With this it does
    so beyond an image's end, too.
    """
    if extents is None:
        return x
    if not isinstance(extents, tuple):  # as in valid_mask
        return extents.extend_edges(x)
    height, width = x.shape[-2:]
    images = []
    for image, (rows, columns) in zip(x, extents, strict=True):
        y = torch.arange(height, device=x.device).clamp(max=rows - 1)
        image = image.index_select(1, y)
        images.append(
            image.index_select(2, torch.arange(width, device=x.device).clamp(max=columns - 1))
        )
    return torch.stack(images)


def sees_padding(network: nn.Module) -> str | None:
    """Why a network's features would depend on padding although its batch norms leave it out.

    Batch norm must follow every convolution, and the layers between must keep zeros. Pooling by
    means, other norms and attention do not.

    Returns:
        The reason, for a message; None if they do not depend on it.
    """
    count = {_BatchNorm: 0, CONVOLUTIONS: 0}
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            count[_BatchNorm] += 1
        elif isinstance(module, CONVOLUTIONS):
            count[CONVOLUTIONS] += 1
            if module.padding_mode != 'zeros':
                return f'{name} pads by {module.padding_mode!r}'
        elif not any(True for _ in module.children()) and not (
            isinstance(module, HARMLESS) or getattr(module, 'keeps_zeros', False)
        ):
            return f'{name} is a {type(module).__name__}'
    if count[CONVOLUTIONS] > count[_BatchNorm]:
        return f'{count[CONVOLUTIONS]} convolutions have {count[_BatchNorm]} batch norms'
    return None
