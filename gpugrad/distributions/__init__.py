"""Probability distributions, under PyTorch's names: draws, densities, and their gradients."""

from gpugrad.distributions import constraints as constraints
from gpugrad.distributions import utils as utils
from gpugrad.distributions.bernoulli import Bernoulli as Bernoulli
from gpugrad.distributions.categorical import Categorical as Categorical
from gpugrad.distributions.distribution import Distribution as Distribution
from gpugrad.distributions.exponential import Exponential as Exponential
from gpugrad.distributions.independent import Independent as Independent
from gpugrad.distributions.kl import kl_divergence as kl_divergence
from gpugrad.distributions.kl import register_kl as register_kl
from gpugrad.distributions.laplace import Laplace as Laplace
from gpugrad.distributions.multivariate_normal import MultivariateNormal as MultivariateNormal
from gpugrad.distributions.normal import Normal as Normal
from gpugrad.distributions.one_hot_categorical import OneHotCategorical as OneHotCategorical
from gpugrad.distributions.uniform import Uniform as Uniform
