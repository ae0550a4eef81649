"""What a model predicts, when neither its file nor its host says so: it is asked once."""

from __future__ import annotations

import torch
from torch import nn

_NOISE_AGREES = 0.5


@torch.no_grad()
def prediction_of(unet: nn.Module, timesteps: int = 1000) -> str:
    """epsilon or v_prediction, from the answer to pure noise at the last timestep: an epsilon model gives that noise
    back, a v model the picture it imagines."""
    weight = next(unet.parameters())
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)).to(weight.device)
    dtype = torch.float32 if weight.device.type == "cpu" else weight.dtype
    context = torch.zeros(1, 77, unet.config.cross_attention_dim, device=weight.device, dtype=dtype)
    last = torch.tensor([timesteps - 1], device=weight.device)
    answer = unet(noise.to(dtype), last, encoder_hidden_states=context, return_dict=False)[0].float()
    agreement = torch.corrcoef(torch.stack([answer.flatten(), noise.flatten()]))[0, 1]
    return "epsilon" if agreement > _NOISE_AGREES else "v_prediction"
