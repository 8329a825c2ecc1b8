# All three modules on joint batch statistics, as the paper has them.
_base_ = './full.py'
model = dict(domain_norm=None)
