"""A character language model: an LSTM that learns to write Python.

The text is the source of a few modules of Python's own standard library (or `--text FILE`).
Training is truncated backpropagation through time: the state is carried from window to window and
detached, so that gradients stop there.  At the end the model continues a prompt.

    python lstm_lm.py --epochs 4
"""

import argparse
import bisect
import heapq
import inspect
import math
import queue
import textwrap
import time

import torch
from torch import nn


def load_text(path):
    if path:
        with open(path, encoding="utf-8") as file:
            return file.read()
    return "\n".join(inspect.getsource(module) for module in (bisect, heapq, queue, textwrap))


class CharLSTM(nn.Module):
    def __init__(self, vocabulary, embedding=32, hidden=96, layers=1, dropout=0.1):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(embedding, hidden, num_layers=layers, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, tokens, state=None):
        hidden, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.head(self.dropout(hidden)), state


def windows(data, length):
    """Consecutive windows of (inputs, targets); targets are the inputs one character later."""
    for start in range(0, data.size(1) - 1, length):
        end = min(start + length, data.size(1) - 1)
        yield data[:, start:end], data[:, start + 1 : end + 1]


def train_epoch(model, data, length, optimizer, criterion, clip):
    model.train()
    state, total, count = None, 0.0, 0
    for inputs, targets in windows(data, length):
        if state is not None:
            state = tuple(s.detach() for s in state)
        logits, state = model(inputs, state)
        loss = criterion(logits.reshape(-1, logits.size(-1)), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        total += loss.item() * targets.numel()
        count += targets.numel()
    return total / count


@torch.no_grad()
def evaluate(model, data, length, criterion):
    model.eval()
    state, total, count = None, 0.0, 0
    for inputs, targets in windows(data, length):
        logits, state = model(inputs, state)
        total += criterion(logits.flatten(0, 1), targets.flatten()).item() * targets.numel()
        count += targets.numel()
    return total / count


@torch.no_grad()
def write(model, prompt, length, temperature, index, characters, device):
    """Continue a prompt, drawing one character after the other."""
    model.eval()
    tokens = torch.tensor([[index[c] for c in prompt]], device=device)
    text, state = prompt, None
    for _ in range(length):
        logits, state = model(tokens, state)
        probabilities = torch.softmax(logits[:, -1] / temperature, dim=-1)
        tokens = torch.multinomial(probabilities, num_samples=1)
        text += characters[tokens.item()]
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="a text file to learn instead")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--length", type=int, default=32, help="characters per window")
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--limit", type=int, default=60_000, help="characters of the text to use")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    text = load_text(args.text)[: args.limit]
    characters = sorted(set(text))
    index = {c: i for i, c in enumerate(characters)}
    data = torch.tensor([index[c] for c in text], dtype=torch.long, device=device)
    rows = data[: len(data) // args.batch_size * args.batch_size].view(args.batch_size, -1)
    held_out = rows.size(1) // 10
    training, validation = rows[:, :-held_out], rows[:, -held_out:]

    model = CharLSTM(len(characters), hidden=args.hidden).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    print(f"{len(text)} characters, {len(characters)} different; {device}")
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        loss = train_epoch(model, training, args.length, optimizer, criterion, args.clip)
        scheduler.step()
        validation_loss = evaluate(model, validation, args.length, criterion)
        print(
            f"epoch {epoch:2d}  loss {loss:.4f}  validation {validation_loss:.4f}  "
            f"perplexity {math.exp(validation_loss):.2f}  {time.perf_counter() - start:.1f} s"
        )
    print(write(model, "def ", 200, args.temperature, index, characters, device))


if __name__ == "__main__":
    main()
