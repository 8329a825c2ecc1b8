# Statistics per domain and no discriminator: what is left for these to gain.
_base_ = './_base.py'
