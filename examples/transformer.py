"""A decoder-only transformer from scratch that learns to sort digits.

Every sequence is a few digits, a separator and the same digits in order: `52719>12579`.  Attention
is written out: matmul, masked_fill and softmax.  The loss counts the answer only, and the accuracy
is that of whole answers, generated digit by digit.

    python transformer.py --steps 400
"""

import argparse
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

SEPARATOR, VOCABULARY = 10, 11


class SelfAttention(nn.Module):
    def __init__(self, width, heads, context, dropout):
        super().__init__()
        assert width % heads == 0
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        causal = torch.tril(torch.ones(context, context)).view(1, 1, context, context)
        self.register_buffer("causal", causal, persistent=False)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).split(width, dim=2)
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
        scores = scores.masked_fill(self.causal[:, :, :length, :length] == 0, float("-inf"))
        weights = self.dropout(F.softmax(scores, dim=-1))
        mixed = (weights @ v).transpose(1, 2).contiguous().view(batch, length, width)
        return self.out(mixed)


class Block(nn.Module):
    def __init__(self, width, heads, context, dropout):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, context, dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nn.Module):
    def __init__(self, context, width=48, heads=4, layers=2, dropout=0.0):
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.ModuleList([Block(width, heads, context, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.token.weight  # tied
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.05)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens, targets=None):
        x = self.token(tokens) + self.position[: tokens.size(1)]
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        if targets is None:
            return logits, None
        loss = F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1), ignore_index=-100)
        return logits, loss

    @torch.no_grad()
    def generate(self, tokens, count):
        for _ in range(count):
            logits, _ = self(tokens)
            tokens = torch.cat([tokens, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
        return tokens


def make_batch(count, digits, device):
    """Inputs and targets: (count, 2 * digits); what is not part of the answer counts nothing."""
    question = torch.randint(0, 10, (count, digits), device=device)
    answer, _ = question.sort(dim=1)
    separator = torch.full((count, 1), SEPARATOR, device=device)
    sequence = torch.cat([question, separator, answer], dim=1)
    inputs, targets = sequence[:, :-1], sequence[:, 1:].clone()
    targets[:, :digits] = -100
    return inputs, targets


def parameter_groups(model, weight_decay):
    """Decay what is a matrix, leave norms and biases alone."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--digits", type=int, default=6)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Transformer(context=2 * args.digits, width=args.width).to(device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters on {device}")
    optimizer = torch.optim.AdamW(
        parameter_groups(model, weight_decay=0.1), lr=args.lr, betas=(0.9, 0.95)
    )
    warmup = max(1, args.steps // 20)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / args.steps)),
    )

    model.train()
    running = None
    for step in range(1, args.steps + 1):
        inputs, targets = make_batch(args.batch_size, args.digits, device)
        _, loss = model(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        running = loss.item() if running is None else 0.9 * running + 0.1 * loss.item()
        if step % max(1, args.steps // 8) == 0:
            rate = scheduler.get_last_lr()[0]
            print(f"step {step:4d}  loss {running:.4f}  lr {rate:.2e}")

    model.eval()
    inputs, targets = make_batch(200, args.digits, device)
    question, answer = inputs[:, : args.digits + 1], targets[:, args.digits :]
    generated = model.generate(question, args.digits)[:, args.digits + 1 :]
    right = (generated == answer).all(dim=1).float().mean().item()
    for asked, given in zip(question[:3].tolist(), generated[:3].tolist()):
        print("".join(map(str, asked[:-1])), "->", "".join(map(str, given)))
    print(f"{right:.1%} of 200 answers right")


if __name__ == "__main__":
    main()
