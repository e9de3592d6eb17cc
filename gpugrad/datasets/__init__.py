"""Readers of well-known data sets from files on the user's disk.  Nothing is downloaded."""

from gpugrad.datasets.cifar import CIFAR10 as CIFAR10
from gpugrad.datasets.cifar import CIFAR100 as CIFAR100
from gpugrad.datasets.mnist import KMNIST as KMNIST
from gpugrad.datasets.mnist import MNIST as MNIST
from gpugrad.datasets.mnist import FashionMNIST as FashionMNIST
from gpugrad.datasets.text import Text as Text
