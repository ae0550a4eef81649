"""Stable Diffusion 1: one CLIP text encoder, no pooled vector, no size conditioning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .kinds import TextKind, UnetKind
from .loan import Conditioning, Loan
from .text import hidden_states
from .weighting import rows_with_weights, weighed


class SD1:
    """Family SD1, epsilon and v-prediction."""

    name = "SD1"
    latent_channels = 4
    latent_factor = 8
    vae_scale = 0.18215
    empty_is_zero = False
    usual_prediction = "eps"
    unet = UnetKind(heads=8)
    texts = (TextKind("cond_stage_model.transformer."),)

    def encode_text(
        self,
        loan: Loan,
        captions: Sequence[str],
        max_token_length: int,
        clip_skip: int,
        dtype: torch.dtype = torch.float32,
        weighted: bool = False,
    ) -> Conditioning:
        """`context` [B, n * 75 + 2, C] in the compute dtype `dtype`, n = max_token_length / 75.

        Differentiable when adapters hang on the text encoder. `weighted`: `(word:1.2)` in captions weigh the states of
        their words. Raises SettingsError (clip_skip too large)."""
        rows, weights = rows_with_weights(loan, 0, captions, max_token_length, weighted)
        return Conditioning(weighed(hidden_states(loan.text_encoders[0], rows, clip_skip, dtype), weights))

    def predict(
        self, loan: Loan, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, sizes: Tensor | None = None
    ) -> Tensor:
        """The U-Net's output [B, 4, h, w] in float32; `noisy` [B, 4, h, w] sets the compute dtype."""
        context = conditioning.context.to(noisy.dtype)
        output = loan.unet(noisy, timesteps, encoder_hidden_states=context, return_dict=False)[0]
        return output.float()
