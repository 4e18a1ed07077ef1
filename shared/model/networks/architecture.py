"""How large a network is: the sizes that a plan names, the same for every network."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Size of a network.

    Attributes
    ----------
    stem_stride
        Step of the first convolution of `mtl_unet`; 2 halves the resolution that all others see.
    channels
        Channels per level, finest first; each level after the first halves the resolution.
    encoder_depth, decoder_depth
        Convolutions per level of `mtl_unet`.
    """

    stem_stride: int
    channels: tuple[int, ...]
    encoder_depth: int
    decoder_depth: int

    @property
    def coarsest_step(self) -> int:
        """Pixels of the finest level along the side of one of the coarsest."""
        return int(2 ** (len(self.channels) - 1))

    def widened(self, factor: float) -> Architecture:
        """The same with so many times as many channels, at least one at every level."""
        return replace(self, channels=tuple(max(1, round(factor * count)) for count in self.channels))


ARCHITECTURES = {
    "tiny": Architecture(stem_stride=2, channels=(16, 32, 64, 96, 128), encoder_depth=2, decoder_depth=1),
    "base": Architecture(stem_stride=2, channels=(32, 64, 128, 256, 384), encoder_depth=2, decoder_depth=2),
}
