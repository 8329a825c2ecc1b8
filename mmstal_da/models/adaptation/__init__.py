from .discriminators import (
    ClassWiseInstanceDiscriminator,
    SpatialDiscriminator,
    TemporalImageDiscriminator,
    TemporalInstanceDiscriminator,
)
from .domain_adaptation import DomainAdaptation
from .losses import DomainBCELoss, DomainFocalLoss

__all__ = [
    'ClassWiseInstanceDiscriminator',
    'DomainAdaptation',
    'DomainBCELoss',
    'DomainFocalLoss',
    'SpatialDiscriminator',
    'TemporalImageDiscriminator',
    'TemporalInstanceDiscriminator',
]
