"""Networks: plain modules from images `[B, C, H, W]`, or features, to logits `[B, K]`."""

from pmnar.networks.cnn9 import CNN9
from pmnar.networks.dense import MLP, Linear
from pmnar.networks.features import feature_size, features_and_logits
from pmnar.networks.noise_layer import NoiseLayer, WithNoiseLayer
from pmnar.networks.preact_resnet import PreActResNet18
from pmnar.networks.projected import Projected
from pmnar.networks.resnet import ResNet34
from pmnar.networks.small_cnn import SmallCNN
from pmnar.networks.timm_bridge import timm_network

__all__ = [
    "CNN9",
    "MLP",
    "Linear",
    "NoiseLayer",
    "PreActResNet18",
    "Projected",
    "ResNet34",
    "SmallCNN",
    "WithNoiseLayer",
    "feature_size",
    "features_and_logits",
    "timm_network",
]
