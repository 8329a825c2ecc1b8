_base_ = './_base.py'
model = dict(domain_norm='target')
