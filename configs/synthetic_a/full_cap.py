_base_ = './full.py'
model = dict(adaptation=dict(lambda_mode='gradient_cap'))
