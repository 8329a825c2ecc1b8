"""The numbers and names of the domains, and what may be trained on. Imports no torch."""

from collections.abc import Mapping
from typing import Any

SOURCE, TARGET = 0, 1
"""A sample's metainfo ``domain``: d of the paper's equations."""

DOMAIN_OF = {
    'source': SOURCE,
    'labelled_target': SOURCE,
    'pseudo_target': SOURCE,
    'target': TARGET,
    'boxed_target': TARGET,
}
"""Part of a batch -> domain, in the order of the parts in a joint batch.

A target whose labels are trained on (rows ``oracle`` and ``oracle_st``), or a model's labels of it
(``pseudo``), counts as source: the detection losses are computed on it. Of a ``boxed_target`` the
boxes are known and the classes are not.
"""

TRAIN_ON = {
    'both': ('source', 'target'),
    'source': ('source',),
    'labelled_target': ('labelled_target',),
    'source_and_labelled_target': ('source', 'labelled_target'),
    'source_and_pseudo': ('source', 'pseudo_target'),
    'target': ('target',),
    'source_and_target_boxes': ('source', 'boxed_target'),
}
"""Value of ``DualDomainDataset(train_on=...)`` -> parts of a batch."""


def trained_parts(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The parts that the config of a ``DualDomainDataset`` trains on.

    Args:
        config: The config; its ``train_on`` is one of :data:`TRAIN_ON`.

    Returns:
        Part -> the data set's config, with ``labelled`` as it will be built.
    """
    parts = {}
    for name in TRAIN_ON[config.get('train_on', 'both')]:
        side = config['source' if name == 'source' else 'target']
        parts[name] = side if name == 'source' else dict(side, labelled=name != 'target')
    return parts
