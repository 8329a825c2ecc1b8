"""Warnings about an adaptation, in words, from the scalars that its training has logged."""

from collections.abc import Mapping, Sequence

import numpy as np

Curves = Mapping[str, Sequence[float] | np.ndarray]
"""Scalar -> its value of every iteration."""

NAMES = {'spatial': 'D_S', 'timg': 'D_Timg', 'tinst': 'D_Tinst'}
"""Discriminator in the keys of losses -> its name in the paper."""

GUESSING = dict(accuracy=0.6, loss_ratio=0.9)  # at most, at least
PERFECT = dict(accuracy=0.95, share=0.05)  # at least, below
ONE_CLASS = 0.15  # diversity below
SETTLED = 0.9  # lambda grew by no more than this ratio allows
WINDOW = 50


def diagnose(
    curves: Curves, patience: int = 300, places: Mapping[str, str] | None = None, top: str = ''
) -> dict[str, str]:
    """What is wrong with an adaptation.

    Means over windows of 50 iterations are compared, so that single batches count little. The
    thresholds are **[derived]**.

    Args:
        curves: ``acc_da_<name>`` (mean of both domains), ``loss_ratio_da_<name>`` (1 is guessing),
            ``grad_share_da_<name>_<map>``, ``da_lambda`` and ``target_diversity``.
        patience: Iterations that a state must last.
        places: Discriminator -> the map at which its reversed gradient arrives.
        top: Name of the class that most of the target is predicted as.

    Returns:
        Identifier -> warning: ``guessing_<name>``, ``idle_<name>`` and ``collapse``.
    """
    found = {}
    for name in NAMES:
        accuracy = _array(curves, f'acc_da_{name}')
        if len(accuracy) < patience:
            continue
        place = (places or {}).get(name, '')
        for kind, message in (
            ('guessing', _guessing(name, curves, accuracy, patience)),
            ('idle', _idle(name, curves, accuracy, patience, place)),
        ):
            if message:
                found[f'{kind}_{name}'] = message
    values = _array(curves, 'target_diversity')[-patience:]
    if len(values) >= patience and (_windows(values) < ONE_CLASS).all():
        what = f'{top!r}' if top else 'one class'
        found['collapse'] = (
            f'for {patience} iterations nearly everything on the target is predicted as {what} '
            f'(diversity {values.mean():.2f}; 1 is an even spread, 0 one class): the target has '
            'collapsed. Lower lambda (default_hooks.adaptation_weight.max_weight), and see whether '
            'source_only does the same: then the source is too one-sided'
        )
    return found


def _guessing(name: str, curves: Curves, accuracy: np.ndarray, patience: int) -> str:
    """The warning that a discriminator never learnt anything in its first iterations."""
    ratio = _array(curves, f'loss_ratio_da_{name}')[:patience]
    accuracy = accuracy[:patience]
    if not (_windows(accuracy) <= GUESSING['accuracy']).all():
        return ''
    if not len(ratio) or not (_windows(ratio) >= GUESSING['loss_ratio']).all():
        return ''
    return (
        f'{NAMES[name]} has been guessing since the beginning: in the first {patience} iterations '
        f'its accuracy is {accuracy.mean():.2f} and its loss {ratio.mean():.2f} of that of guessing'
        '. Its reversed gradient has no direction yet, and this is no sign of aligned features '
        '(tools/analysis_tools/domain_gap.py measures that). Let it learn faster: '
        "adaptation.lambda_mode='grl_coefficient', a higher learning rate for `adaptation` in "
        'optim_wrapper.paramwise_cfg, or a later adaptation_weight.begin'
    )


def _idle(name: str, curves: Curves, accuracy: np.ndarray, patience: int, place: str) -> str:
    """The warning that a discriminator is perfect while the features do not move."""
    weight = _array(curves, 'da_lambda')[-patience:]
    if not len(weight) or weight[0] < SETTLED * weight[-1]:
        return ''  # lambda still rises
    if not (_windows(accuracy[-patience:]) >= PERFECT['accuracy']).all():
        return ''
    share = _array(curves, f'grad_share_da_{name}_{place}')[-patience:]
    if not len(share) or not (_windows(share) < PERFECT['share']).all():
        return ''
    return (
        f'{NAMES[name]} recognises the domain almost always (accuracy '
        f'{accuracy[-patience:].mean():.2f} for {patience} iterations), and its reversed gradient '
        f"is {100 * share.mean():.2g} % of the detection losses' at {place}: the features do not "
        f'move. Lambda is {weight[-1]:.3g}; raise default_hooks.adaptation_weight.max_weight, or '
        'use a loss that does not fade on easy samples (DomainBCELoss, or a smaller gamma)'
    )


def _array(curves: Curves, key: str) -> np.ndarray:
    return np.asarray(curves.get(key, ()), float)


def _windows(values: np.ndarray) -> np.ndarray:
    """Means of consecutive windows; a shorter rest belongs to the last one."""
    count = max(1, len(values) // WINDOW)
    edges = [WINDOW * number for number in range(count)]
    sizes = np.diff([*edges, len(values)])
    return np.add.reduceat(values, edges) / sizes
