"""Pictures from a loan, with or without an adapter attached to it; the host's own pipeline is not involved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..families.loan import Conditioning, Loan
from ..objectives.objective import Objective
from .sampler import ddim

TOKENS_PER_RUN = 75


@dataclass(frozen=True)
class SampleRequest:
    """txt2img. Sizes in pixels, cut to whole latent cells; `clip_skip` 0 is the host's; `cfg` 1 needs no negative."""

    prompt: str
    negative: str = ""
    width: int = 512
    height: int = 512
    steps: int = 20
    cfg: float = 7.0
    seed: int = 1
    clip_skip: int = 0


@torch.no_grad()
def draw(
    loan: Loan, request: SampleRequest, objective: Objective | None = None, dtype: torch.dtype | None = None
) -> Image.Image:
    """One picture. `objective` says noise schedule and prediction where the run's differ from the loan's; `dtype` is
    the compute dtype, the weights' by default (float32 on a CPU). The seed's noise is the same on every device."""
    objective = objective or Objective(loan.alphas_cumprod.float().to(loan.device), loan.prediction)
    dtype = dtype or (torch.float32 if loan.device.type == "cpu" else loan.weights_dtype)
    guided = _guided(loan, request, dtype)
    latents = ddim(guided, _noise(loan, request), objective.alphas_cumprod, objective.prediction, request.steps)
    return _picture(_decoded(loan, latents, dtype))


def _noise(loan: Loan, request: SampleRequest) -> Tensor:
    cells = [max(1, side // loan.family.latent_factor) for side in (request.height, request.width)]
    generator = torch.Generator().manual_seed(request.seed)
    return torch.randn(1, loan.family.latent_channels, *cells, generator=generator).to(loan.device)


def _guided(loan: Loan, request: SampleRequest, dtype: torch.dtype):
    """The model as a function of (x, timestep), with classifier-free guidance in one batch of two."""
    texts = [request.prompt] if request.cfg == 1 else [request.negative, request.prompt]
    conditioning = _conditioning(loan, texts, request.clip_skip or loan.clip_skip, dtype)
    sizes = torch.tensor([[request.height, request.width, 0, 0, request.height, request.width]] * len(texts))
    sizes = sizes.to(loan.device)

    def model(x: Tensor, timestep: int) -> Tensor:
        timesteps = torch.full((len(texts),), timestep, device=loan.device)
        doubled = x.expand(len(texts), -1, -1, -1).to(dtype)
        output = loan.family.predict(loan, doubled, timesteps, conditioning, sizes)
        return output if len(texts) == 1 else output[:1] + request.cfg * (output[1:] - output[:1])

    return model


def _conditioning(loan: Loan, texts: list[str], clip_skip: int, dtype: torch.dtype) -> Conditioning:
    """As many runs of 75 tokens as the longest text needs, as the web UIs do it."""
    tokens = max(len(tokenizer.encode(text)) for tokenizer in loan.tokenizers for text in texts)
    runs = max(1, -(-tokens // TOKENS_PER_RUN))
    found = loan.family.encode_text(loan, texts, runs * TOKENS_PER_RUN, clip_skip, dtype)
    return _silenced(found) if loan.family.empty_is_zero and len(texts) > 1 and not texts[0] else found


def _silenced(found: Conditioning) -> Conditioning:
    """The first text's as zeros."""
    heard = torch.ones(len(found.context), 1, device=found.context.device, dtype=found.context.dtype)
    heard[0] = 0
    return Conditioning(found.context * heard[..., None], None if found.pooled is None else found.pooled * heard)


def _decoded(loan: Loan, latents: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixels [1, 3, H, W]; once more in float32 where half precision overflows, as it does with some VAEs."""
    pixels = loan.vae.decode((latents / loan.vae_scale).to(dtype)).sample
    if not torch.isfinite(pixels).all():
        pixels = loan.vae.decode((latents / loan.vae_scale).float()).sample
    return pixels.float()


def _picture(pixels: Tensor) -> Image.Image:
    levels = ((pixels[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy()), "RGB")
