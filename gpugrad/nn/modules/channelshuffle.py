"""Channels in another order."""

from __future__ import annotations

from gpugrad.nn.layer import Layer


class ChannelShuffle(Layer, function="channel_shuffle", shows="groups="):
    """Takes the channels of the groups by turns."""

    groups: int
