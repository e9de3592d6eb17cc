"""A variational autoencoder that learns to draw little hills.

Data: 12 x 12 images of two soft bumps.  The encoder gives the mean and spread of a code, a code is
drawn by the reparametrisation trick, and the decoder draws the image back.  At the end samples from
the prior are shown as text.

    python vae.py --epochs 12
"""

import argparse

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

SIZE = 12


def hills(count):
    """Images of two bumps, values in [0, 1]: (count, SIZE * SIZE)."""
    grid = torch.linspace(0, 1, SIZE)
    x, y = 0.2 + 0.6 * torch.rand(2, count, 2, 1)
    across = torch.exp(-((grid - x) ** 2) / 0.02)  # (count, 2, SIZE)
    down = torch.exp(-((grid - y) ** 2) / 0.02)
    images = torch.einsum("nbi,nbj->nij", down, across)
    return images.clamp(0, 1).flatten(1)


class VAE(nn.Module):
    def __init__(self, code=6, hidden=128):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(SIZE * SIZE, hidden), nn.ReLU())
        self.mean = nn.Linear(hidden, code)
        self.log_variance = nn.Linear(hidden, code)
        self.decoder = nn.Sequential(
            nn.Linear(code, hidden),
            nn.ReLU(),
            nn.Linear(hidden, SIZE * SIZE),
        )

    def encode(self, x):
        hidden = self.encoder(x)
        return self.mean(hidden), self.log_variance(hidden)

    def sample(self, mean, log_variance):
        return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)

    def forward(self, x):
        mean, log_variance = self.encode(x)
        return self.decoder(self.sample(mean, log_variance)), mean, log_variance


def elbo_loss(logits, x, mean, log_variance):
    """Negative evidence lower bound per image: reconstruction error and divergence."""
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return reconstruction / len(x), divergence / len(x)


def show(images):
    """Print images side by side in characters."""
    ink = " .:-=+*#%@"
    for row in range(0, SIZE, 2):  # characters are about twice as high as wide
        lines = ("".join(ink[int(v * 9.99)] for v in image[row]) for image in images.tolist())
        print("   ".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--code", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = DataLoader(
        TensorDataset(hills(args.images)), args.batch_size, shuffle=True, drop_last=True
    )
    model = VAE(args.code).to(device)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)

    for epoch in range(1, args.epochs + 1):
        sums = torch.zeros(2)
        for (x,) in loader:
            x = x.to(device)
            logits, mean, log_variance = model(x)
            reconstruction, divergence = elbo_loss(logits, x, mean, log_variance)
            optimizer.zero_grad(set_to_none=True)
            (reconstruction + divergence).backward()
            optimizer.step()
            sums += torch.tensor([reconstruction.item(), divergence.item()])
        scheduler.step()
        reconstruction, divergence = (sums / len(loader)).tolist()
        print(
            f"epoch {epoch:2d}  loss {reconstruction + divergence:.3f}  "
            f"reconstruction {reconstruction:.3f}  divergence {divergence:.3f}"
        )

    model.eval()
    with torch.no_grad():
        codes = torch.randn(5, args.code, device=device)
        show(torch.sigmoid(model.decoder(codes)).view(-1, SIZE, SIZE).cpu())


if __name__ == "__main__":
    main()
