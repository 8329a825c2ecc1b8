# All three modules on statistics per domain [derived].
_base_ = './full.py'
model = dict(domain_norm='target')
