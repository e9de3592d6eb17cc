"""Classify drawn shapes with a small convolutional network.

The images are drawn on the fly: discs, squares, triangles and crosses of any size and place, under
noise.  The script has what such scripts have: a dataset with augmentation, loaders, a learning-rate
schedule, the best weights kept in a checkpoint, and a final test with the weights read back.

    python classification.py --epochs 6
"""

import argparse
import os
import tempfile

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, random_split

CLASSES = ("disc", "square", "triangle", "cross")
SIZE = 16


def draw(label, generator):
    """A SIZE x SIZE image of one shape, values around 0 (paper) and 1 (ink)."""
    radius, x, y, ink = torch.rand(4, generator=generator).tolist()
    radius = 3 + 2 * radius
    grid = torch.arange(SIZE, dtype=torch.float32)
    v = grid[:, None] - (SIZE / 2 + 3 * (y - 0.5))
    u = grid[None, :] - (SIZE / 2 + 3 * (x - 0.5))
    if CLASSES[label] == "disc":
        inside = u**2 + v**2 < radius**2
    elif CLASSES[label] == "square":
        inside = torch.maximum(u.abs(), v.abs()) < 0.85 * radius
    elif CLASSES[label] == "triangle":
        inside = (v.abs() < radius) & (u.abs() < (v + radius) / 2)
    else:
        inside = (torch.minimum(u.abs(), v.abs()) < 1.2) & (
            torch.maximum(u.abs(), v.abs()) < radius
        )
    noise = torch.randn(SIZE, SIZE, generator=generator)
    return inside * (0.6 + 0.4 * ink) + 0.25 * noise


class Shapes(Dataset):
    """Drawn images; in training mode each comes mirrored or shifted at random."""

    def __init__(self, count, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(len(CLASSES), (count,), generator=generator)
        self.images = torch.stack([draw(label, generator) for label in self.labels.tolist()])
        self.augment = True

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index].unsqueeze(0)
        if self.augment:
            if torch.rand(()) < 0.5:
                image = image.flip(-1)
            shift = torch.randint(-1, 2, (2,)).tolist()
            image = torch.roll(image, shift, dims=(1, 2))
        return image, self.labels[index]


class Net(nn.Module):
    def __init__(self, width=16, dropout=0.1):
        super().__init__()
        self.features = nn.Sequential(
            self.block(1, width),
            self.block(width, 2 * width),
            nn.AdaptiveAvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(8 * width, len(CLASSES)),
        )

    @staticmethod
    def block(inputs, outputs):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )

    def forward(self, x):
        return self.classifier(self.features(x))


def train_epoch(model, loader, optimizer, scheduler, device):
    model.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader, device):
    model.eval()
    right = 0
    for images, labels in loader:
        predicted = model(images.to(device)).argmax(dim=1)
        right += (predicted == labels.to(device)).sum().item()
    return right / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", default=os.path.join(tempfile.gettempdir(), "shapes.pt"))
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    data = Shapes(args.images, args.seed)
    held_out = Shapes(args.images // 5, args.seed + 1)
    held_out.augment = False
    validation, test = random_split(held_out, [0.5, 0.5])
    loader = DataLoader(data, args.batch_size, shuffle=True, num_workers=args.workers)
    validation_loader = DataLoader(validation, batch_size=200)
    test_loader = DataLoader(test, batch_size=200)

    model = Net().to(device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters on {device}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=args.lr, total_steps=args.epochs * len(loader)
    )

    best = -1.0
    for epoch in range(1, args.epochs + 1):
        loss = train_epoch(model, loader, optimizer, scheduler, device)
        accuracy = evaluate(model, validation_loader, device)
        print(f"epoch {epoch:2d}  loss {loss:.4f}  validation accuracy {accuracy:.1%}")
        if accuracy > best:
            best = accuracy
            torch.save({"model": model.state_dict(), "epoch": epoch}, args.checkpoint)

    checkpoint = torch.load(args.checkpoint, map_location=device)
    model.load_state_dict(checkpoint["model"])
    accuracy = evaluate(model, test_loader, device)
    print(f"test accuracy {accuracy:.1%} with the weights of epoch {checkpoint['epoch']}")


if __name__ == "__main__":
    main()
