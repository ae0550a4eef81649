"""The model classes of diffusers and transformers, imported by one thread at a time and only when needed.

Both libraries import their parts lazily, by name; two threads that ask for one at the same moment can meet a half-made
module ("cannot import name ..."), and pictures are looked at and trained on in different threads.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace

_ONE_AT_A_TIME = threading.Lock()


def models() -> SimpleNamespace:
    """With UNet2DConditionModel, AutoencoderKL, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection. The first
    call takes seconds. Raises ImportError, or RuntimeError as diffusers wraps it, when the installation is broken."""
    with _ONE_AT_A_TIME:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

        return SimpleNamespace(
            UNet2DConditionModel=UNet2DConditionModel,
            AutoencoderKL=AutoencoderKL,
            CLIPTextConfig=CLIPTextConfig,
            CLIPTextModel=CLIPTextModel,
            CLIPTextModelWithProjection=CLIPTextModelWithProjection,
        )
