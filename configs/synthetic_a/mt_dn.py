_base_ = './mt.py'
model = dict(detector=dict(domain_norm='target'))
