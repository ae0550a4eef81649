"""The yaml beside a checkpoint, from which LDM code builds the model: of each family, for any sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .ldm_layout import SIZE_NUMBERS, Sizes

_LDM, _SGM = "ldm.modules", "sgm.modules"


def configuration(sizes: Sizes, v_prediction: bool, clip_folder: Path) -> str:
    """YAML. `clip_folder` holds configuration and tokenizer of Hugging Face's text encoder."""
    make = _sgm if sizes.family == "SDXL" else _ldm
    model = make(sizes, v_prediction, str(clip_folder.resolve()))
    return yaml.dump({"model": model}, Dumper=_Plain, sort_keys=False)


class _Plain(yaml.SafeDumper):
    """Repeats what occurs twice instead of referring back to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _ldm(sizes: Sizes, v_prediction: bool, clip: str) -> dict[str, Any]:
    texts = {
        "SD1": (f"{_LDM}.encoders.modules.FrozenCLIPEmbedder", {"version": clip}),
        "SD2": (f"{_LDM}.encoders.modules.FrozenOpenCLIPEmbedder", {**_openclip(sizes), "layer": "penultimate"}),
    }
    return _part(
        "ldm.models.diffusion.ddpm.LatentDiffusion",
        linear_start=0.00085,
        linear_end=0.012,
        timesteps=1000,
        parameterization="v" if v_prediction else "eps",
        first_stage_key="jpg",
        cond_stage_key="txt",
        image_size=16,
        channels=4,
        conditioning_key="crossattn",
        scale_factor=0.18215,
        use_ema=False,
        unet_config=_part(f"{_LDM}.diffusionmodules.openaimodel.UNetModel", **_unet(sizes), transformer_depth=1),
        first_stage_config=_part("ldm.models.autoencoder.AutoencoderKL", **_vae(sizes)),
        cond_stage_config=_part(texts[sizes.family][0], **texts[sizes.family][1]),
    )


def _sgm(sizes: Sizes, v_prediction: bool, clip: str) -> dict[str, Any]:
    modules = f"{_SGM}.diffusionmodules"
    scaling = "VScaling" if v_prediction else "EpsScaling"
    encoders = f"{_SGM}.encoders.modules"
    hidden = {"layer": "hidden", "layer_idx": sizes.text_layers - 1, "version": clip}
    second = {**_openclip(sizes), "layer": "penultimate", "always_return_pooled": True, "legacy": False}
    texts = [
        _part(f"{encoders}.FrozenCLIPEmbedder", **hidden),
        _part(f"{encoders}.FrozenOpenCLIPEmbedder2", **second),
    ]
    numbers = _part(f"{encoders}.ConcatTimestepEmbedderND", outdim=SIZE_NUMBERS // 6)
    inputs = ["txt", "txt", "original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple"]
    embedders = [
        {**embedder, "is_trainable": False, "input_key": key}
        for embedder, key in zip([*texts, numbers, numbers, numbers], inputs, strict=True)
    ]
    unet = {
        **_unet(sizes),
        "adm_in_channels": sizes.openclip.pooled + SIZE_NUMBERS,
        "num_classes": "sequential",
        "transformer_depth": [max(1, depth) for depth in sizes.depth],
        "spatial_transformer_attn_type": "softmax",
    }
    return _part(
        "sgm.models.diffusion.DiffusionEngine",
        scale_factor=0.13025,
        disable_first_stage_autocast=True,
        denoiser_config=_part(
            f"{modules}.denoiser.DiscreteDenoiser",
            num_idx=1000,
            weighting_config=_part(f"{modules}.denoiser_weighting.EpsWeighting"),
            scaling_config=_part(f"{modules}.denoiser_scaling.{scaling}"),
            discretization_config=_part(f"{modules}.discretizer.LegacyDDPMDiscretization"),
        ),
        network_config=_part(f"{modules}.openaimodel.UNetModel", **unet),
        conditioner_config=_part(f"{_SGM}.GeneralConditioner", emb_models=embedders),
        first_stage_config=_part("sgm.models.autoencoder.AutoencoderKLInferenceWrapper", **_vae(sizes)),
    )


def _part(target: str, **params: Any) -> dict[str, Any]:
    return {"target": target, "params": params} if params else {"target": target}


def _unet(sizes: Sizes) -> dict[str, Any]:
    heads = {"num_head_channels": sizes.head_width} if sizes.head_width else {"num_heads": sizes.heads}
    return {
        **heads,
        **({} if sizes.family == "SD1" else {"use_linear_in_transformer": True}),
        **({} if sizes.family == "SDXL" else {"image_size": 16}),
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": sizes.channels,
        "attention_resolutions": [2**level for level, depth in enumerate(sizes.depth) if depth],
        "num_res_blocks": sizes.blocks,
        "channel_mult": list(sizes.multipliers),
        "use_spatial_transformer": True,
        "context_dim": sizes.joint_context,
        "use_checkpoint": False,
        "legacy": False,
    }


def _vae(sizes: Sizes) -> dict[str, Any]:
    details = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 128,
        "in_channels": 3,
        "out_ch": 3,
        "ch": sizes.vae_channels,
        "ch_mult": list(sizes.vae_multipliers),
        "num_res_blocks": sizes.vae_blocks,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return {"embed_dim": 4, "ddconfig": details, "lossconfig": {"target": "torch.nn.Identity"}}


def _openclip(sizes: Sizes) -> dict[str, Any]:
    return {"arch": sizes.openclip.arch, "version": "", "freeze": True} if sizes.openclip else {}
