from .discriminators import (
    SpatialDiscriminator,
    TemporalImageDiscriminator,
    TemporalInstanceDiscriminator,
)
from .domain_adaptation import DomainAdaptation
from .losses import DomainBCELoss, DomainFocalLoss

__all__ = [
    'DomainAdaptation',
    'DomainBCELoss',
    'DomainFocalLoss',
    'SpatialDiscriminator',
    'TemporalImageDiscriminator',
    'TemporalInstanceDiscriminator',
]
