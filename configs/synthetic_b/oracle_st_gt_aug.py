_base_ = './oracle_st_aug.py'
val_dataloader = test_dataloader = dict(dataset=dict(proposals='ground_truth'))
