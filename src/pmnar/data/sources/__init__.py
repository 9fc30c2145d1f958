"""Where images and labels come from: each class satisfies `pmnar.data.arrays.Source`."""

from pmnar.data.sources.cifar import CIFAR10, CIFAR100
from pmnar.data.sources.digits import Digits
from pmnar.data.sources.features import Features
from pmnar.data.sources.image_folder import ImageFolder
from pmnar.data.sources.mini_webvision import MiniWebVision
from pmnar.data.sources.mnist import MNIST, FashionMNIST
from pmnar.data.sources.tiny_imagenet import TinyImageNet

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "Digits",
    "FashionMNIST",
    "Features",
    "ImageFolder",
    "MiniWebVision",
    "TinyImageNet",
]
