_base_ = './full.py'
model = dict(domain_norm='target')
