"""Stable Diffusion XL: two text encoders, a pooled vector, and conditioning on the picture's size and crop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .kinds import TextKind, UnetKind
from .loan import Conditioning, Loan
from .text import join, layer_states, pooled
from .weighting import rows_with_weights, weighed

_PENULTIMATE = 2


class SDXL:
    """Family SDXL, epsilon and v-prediction.

    It was trained on the last layer but one of both text encoders, without the final norm: CLIP skip 1 and 2 are both
    that, as in the hosts; larger ones count from the end. Source: golden 03_text_encoding.
    """

    name = "SDXL"
    latent_channels = 4
    latent_factor = 8
    vae_scale = 0.13025
    empty_is_zero = True
    usual_prediction = "eps"
    unet = UnetKind()
    texts = (
        TextKind("conditioner.embedders.0.transformer."),
        TextKind("conditioner.embedders.1.model.", "gelu", pad=0, pooled=True),
    )

    def encode_text(
        self,
        loan: Loan,
        captions: Sequence[str],
        max_token_length: int,
        clip_skip: int,
        dtype: torch.dtype = torch.float32,
        weighted: bool = False,
    ) -> Conditioning:
        """`context` [B, n * 75 + 2, C1 + C2] and `pooled` [B, P] in the compute dtype `dtype`, n = max_token_length /
        75. Differentiable when adapters hang on the text encoders. `weighted`: `(word:1.2)` in captions weigh the
        states of their words, the pooled vector stays. Raises SettingsError (clip_skip too large)."""
        first, second = loan.text_encoders
        found = [rows_with_weights(loan, i, captions, max_token_length, weighted) for i in range(2)]
        rows = [row for row, _ in found]
        skip = max(clip_skip, _PENULTIMATE)
        (states,) = layer_states(first, rows[0], [skip], dtype)
        others, last = layer_states(second, rows[1], [skip, 1], dtype)
        joined = [weighed(join(state), w) for state, (_, w) in zip((states, others), found, strict=True)]
        context = torch.cat(joined, dim=-1)
        return Conditioning(context, pooled(second, last[:, 0], rows[1][:, 0], loan.tokenizers[1].eos))

    def predict(
        self, loan: Loan, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, sizes: Tensor
    ) -> Tensor:
        """The U-Net's output [B, 4, h, w] in float32; `noisy` [B, 4, h, w] sets the compute dtype; `sizes` [B, 6]."""
        added = {"text_embeds": conditioning.pooled.to(noisy.dtype), "time_ids": sizes}
        context = conditioning.context.to(noisy.dtype)
        output = loan.unet(noisy, timesteps, encoder_hidden_states=context, added_cond_kwargs=added, return_dict=False)[
            0
        ]
        return output.float()
