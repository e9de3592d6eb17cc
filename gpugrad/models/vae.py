"""A variational autoencoder (Kingma, Welling: "Auto-Encoding Variational Bayes", 2013).

x (N, features) -> fc1 (N, hidden) -> mean fc21 and logarithm of the variance fc22 (N, latent)
  -> a draw from that normal distribution (N, latent) -> fc3 (N, hidden) -> fc4 (N, features)
"""

from __future__ import annotations

from typing import Any

import gpugrad
from gpugrad import Tensor, nn
from gpugrad.nn import functional as F


class VAE(nn.Module):
    """Two linear layers each way; modules are named as in PyTorch's example.

    Args:
        features: values of an input, each between 0 and 1.
        hidden: units between.
        latent: size of the code.
    """

    def __init__(self, features: int = 784, hidden: int = 400, latent: int = 20) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, features)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the code, ``(N, latent)`` each."""
        h = F.relu(self.fc1(x.flatten(1)))
        return self.fc21(h), self.fc22(h)

    def decode(self, code: Tensor) -> Tensor:
        """Logits ``(N, features)`` of what a code ``(N, latent)`` stands for."""
        return self.fc4(F.relu(self.fc3(code)))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the reconstruction, and mean and logarithm of the variance of the code.

        Args:
            x: ``(N, ...)`` with ``features`` values each.
            noise: standard normal values ``(N, latent)`` that make the code; drawn if left out.
        """
        mean, log_variance = self.encode(x)
        if noise is None:
            noise = gpugrad.randn_like(mean)
        return self.decode(mean + noise * gpugrad.exp(0.5 * log_variance)), mean, log_variance

    @gpugrad.no_grad()
    def sample(self, count: int, generator: Any = None) -> Tensor:
        """Values ``(count, features)`` between 0 and 1 for codes drawn from the prior."""
        weight = self.fc3.weight
        code = gpugrad.randn(count, weight.shape[1], generator=generator, dtype=weight.dtype,
                             device=weight.device)  # fmt: skip
        return gpugrad.sigmoid(self.decode(code))


def vae_loss(logits: Tensor, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The negative lower bound on the log-likelihood, summed over a batch (appendix B).

    That is the cross-entropy of the reconstruction plus the divergence of the codes' distribution
    from the standard normal one, ``-1/2 sum(1 + log_variance - mean^2 - exp(log_variance))``.
    """
    error = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
    return error - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
