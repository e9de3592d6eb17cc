"""Whole models, ready to train."""

from gpugrad.models.digits import DigitsCNN as DigitsCNN
