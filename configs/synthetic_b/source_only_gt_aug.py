_base_ = './source_only_aug.py'
val_dataloader = test_dataloader = dict(dataset=dict(proposals='ground_truth'))
