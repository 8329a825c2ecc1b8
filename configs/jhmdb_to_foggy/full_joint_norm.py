# All three modules on the pretrained statistics, as the paper has them.
_base_ = './full.py'
model = dict(domain_norm=None)
