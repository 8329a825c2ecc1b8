"""Layers that more than one network uses."""

from .domain_batch_norm import DomainBatchNorm2d, DomainBatchNorm3d, DomainNorm

__all__ = ['DomainBatchNorm2d', 'DomainBatchNorm3d', 'DomainNorm']
