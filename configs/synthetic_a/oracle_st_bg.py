_base_ = './oracle_st.py'
train_dataloader = dict(dataset=dict(source=dict(background_share=0.25)))
