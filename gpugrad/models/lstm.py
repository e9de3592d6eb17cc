"""A language model over an LSTM (Zaremba, Sutskever, Vinyals: "RNN Regularization", 2014).

Modules are named as in PyTorch's word-level example.  Tied, the scores' weight is the embedding's
(Press, Wolf: "Using the Output Embedding to Improve Language Models", 2016).

tokens (N, T) -> encoder (N, T, embedding_dim) -> rnn (N, T, hidden_size) -> decoder (N, T, V)
"""

from __future__ import annotations

from gpugrad import Tensor, nn


class LSTMLanguageModel(nn.Module):
    """Embedding, LSTM, scores of the next token; dropout before and after the LSTM and inside.

    Args:
        vocab_size: number of different tokens, V.
        embedding_dim: size of an embedded token.
        hidden_size: size of the LSTM's state.
        num_layers: number of LSTM layers.
        dropout: share dropped between layers.
        tie_weights: let the decoder use the embedding's weight.

    Raises:
        ValueError: for tied weights of two sizes.
    """

    def __init__(self, vocab_size: int, embedding_dim: int = 200, hidden_size: int = 200,
                 num_layers: int = 2, dropout: float = 0.2,
                 tie_weights: bool = False) -> None:  # fmt: skip
        super().__init__()
        if tie_weights and embedding_dim != hidden_size:
            raise ValueError(
                f"LSTMLanguageModel: tie_weights=True needs embedding_dim={embedding_dim} and "
                f"hidden_size={hidden_size} to be the same"
            )
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocab_size, embedding_dim)
        self.rnn = nn.LSTM(
            embedding_dim, hidden_size, num_layers, batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
        )  # fmt: skip
        self.decoder = nn.Linear(hidden_size, vocab_size)
        if tie_weights:
            self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None
                ) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
        """Scores of the token after each, and the state after the last.

        Args:
            tokens: int64 ``(N, T)``.
            state: the LSTM's ``h`` and ``c`` at the start, ``(num_layers, N, hidden_size)`` each;
                zeros if left out.  To train on the next piece of a text, pass on what the last
                piece gave, detached.

        Returns:
            Scores ``(N, T, vocab_size)``, and ``(h, c)``.
        """
        output, state = self.rnn(self.drop(self.encoder(tokens)), state)
        return self.decoder(self.drop(output)), state
