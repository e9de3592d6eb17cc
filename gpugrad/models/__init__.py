"""Whole models, ready to train, written with the public names of gpugrad only.

Nothing is downloaded: ``weights=`` takes a file.
"""

from gpugrad.models.convnet import ConvNet as ConvNet
from gpugrad.models.convnet import LeNet5 as LeNet5
from gpugrad.models.dcgan import DCGANDiscriminator as DCGANDiscriminator
from gpugrad.models.dcgan import DCGANGenerator as DCGANGenerator
from gpugrad.models.digits import DigitsCNN as DigitsCNN
from gpugrad.models.gpt import GPT2 as GPT2
from gpugrad.models.gpt import GPT2Config as GPT2Config
from gpugrad.models.gpt import gpt2 as gpt2
from gpugrad.models.lstm import LSTMLanguageModel as LSTMLanguageModel
from gpugrad.models.mlp import MLP as MLP
from gpugrad.models.resnet import ResNet as ResNet
from gpugrad.models.resnet import resnet18 as resnet18
from gpugrad.models.resnet import resnet34 as resnet34
from gpugrad.models.resnet import resnet50 as resnet50
from gpugrad.models.resnet import resnet101 as resnet101
from gpugrad.models.resnet import resnet152 as resnet152
from gpugrad.models.vae import VAE as VAE
from gpugrad.models.vae import vae_loss as vae_loss
from gpugrad.models.vgg import VGG as VGG
from gpugrad.models.vgg import vgg11 as vgg11
from gpugrad.models.vgg import vgg11_bn as vgg11_bn
from gpugrad.models.vgg import vgg13 as vgg13
from gpugrad.models.vgg import vgg13_bn as vgg13_bn
from gpugrad.models.vgg import vgg16 as vgg16
from gpugrad.models.vgg import vgg16_bn as vgg16_bn
from gpugrad.models.vgg import vgg19 as vgg19
from gpugrad.models.vgg import vgg19_bn as vgg19_bn
from gpugrad.models.vit import VisionTransformer as VisionTransformer
from gpugrad.models.vit import vit_b_16 as vit_b_16
from gpugrad.models.vit import vit_b_32 as vit_b_32
from gpugrad.models.vit import vit_h_14 as vit_h_14
from gpugrad.models.vit import vit_l_16 as vit_l_16
from gpugrad.models.vit import vit_l_32 as vit_l_32
