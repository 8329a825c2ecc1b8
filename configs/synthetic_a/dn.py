# Statistics per domain and no discriminator [derived]: what these leave to gain.
_base_ = './_base.py'
model = dict(domain_norm='target')
