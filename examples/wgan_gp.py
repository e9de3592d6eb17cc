"""A Wasserstein GAN with gradient penalty that learns a ring of eight clusters.

The critic's gradient with respect to its input is pulled towards length 1 (Gulrajani et al., 2017),
so its own gradient needs second derivatives: `torch.autograd.grad(..., create_graph=True)`.

    python wgan_gp.py --steps 600
"""

import argparse
import math

import torch
import torch.nn as nn

CLUSTERS = 8


def real_points(count, device):
    """Points around CLUSTERS places on the unit circle: (count, 2)."""
    angle = torch.randint(CLUSTERS, (count,), device=device) * (2 * math.pi / CLUSTERS)
    centers = torch.stack([angle.cos(), angle.sin()], dim=1)
    return centers + 0.05 * torch.randn(count, 2, device=device)


def mlp(inputs, outputs, hidden=64):
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, outputs),
    )


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, a=0.2)
        nn.init.zeros_(module.bias)


def gradient_penalty(critic, real, fake):
    """Mean of (|gradient| - 1)^2 at points between real and fake ones."""
    mix = torch.rand(len(real), 1, device=real.device)
    between = torch.lerp(real, fake, mix).requires_grad_(True)
    scores = critic(between)
    (gradient,) = torch.autograd.grad(
        outputs=scores,
        inputs=between,
        grad_outputs=torch.ones_like(scores),
        create_graph=True,
    )
    return (gradient.norm(2, dim=1) - 1).pow(2).mean()


@torch.no_grad()
def distance_to_data(generator, noise, count=1000):
    """How far generated points are from the nearest cluster's centre, and clusters that are hit."""
    device = next(generator.parameters()).device
    points = generator(torch.randn(count, noise, device=device))
    angle = torch.arange(CLUSTERS, device=device) * (2 * math.pi / CLUSTERS)
    centers = torch.stack([angle.cos(), angle.sin()], dim=1)
    nearest, which = torch.cdist(points, centers).min(dim=1)
    hits = torch.bincount(which[nearest < 0.25], minlength=CLUSTERS)
    return nearest.mean().item(), (hits > count // 100).sum().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--critic-steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--noise", type=int, default=4)
    parser.add_argument("--penalty", type=float, default=1.0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator, critic = mlp(args.noise, 2).to(device), mlp(2, 1).to(device)
    generator.apply(init_weights)
    critic.apply(init_weights)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=args.lr, betas=(0.5, 0.9))
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=args.lr, betas=(0.5, 0.9))

    def fake_points():
        return generator(torch.randn(args.batch_size, args.noise, device=device))

    for step in range(1, args.steps + 1):
        for _ in range(args.critic_steps):
            real, fake = real_points(args.batch_size, device), fake_points().detach()
            wasserstein = critic(real).mean() - critic(fake).mean()
            penalty = gradient_penalty(critic, real, fake)
            critic_optimizer.zero_grad()
            (args.penalty * penalty - wasserstein).backward()
            critic_optimizer.step()

        critic.requires_grad_(False)
        generator_optimizer.zero_grad()
        (-critic(fake_points()).mean()).backward()
        generator_optimizer.step()
        critic.requires_grad_(True)

        if step % max(1, args.steps // 6) == 0:
            distance, hit = distance_to_data(generator, args.noise)
            print(
                f"step {step:4d}  wasserstein {wasserstein.item():.4f}  "
                f"penalty {penalty.item():.4f}  distance {distance:.4f}  "
                f"clusters {hit} of {CLUSTERS}"
            )


if __name__ == "__main__":
    main()
