_base_ = './full.py'
train_dataloader = dict(dataset=dict(source=dict(background_share=0.25)))
