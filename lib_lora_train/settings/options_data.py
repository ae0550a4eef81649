"""Options of pictures: folders, buckets, augmentation, masks, caches."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section
from .section import option as _o


class DataSettings(Section):
    """Pictures"""

    train_data_dir: Annotated[
        str, _o("Folder", "Folder of pictures, or of concept folders named `<repeats>_<name>`.")
    ] = ""
    reg_data_dir: Annotated[
        str,
        _o(
            "Regularisation folder", "Pictures of the class in the same layout; empty means `reg/` beside the concepts."
        ),
    ] = ""
    dataset_repeats: Annotated[
        int, _o("Repeats (flat folder)", "How often a picture counts per epoch when the folder has no `N_` name.", ge=1)
    ] = 1
    resolution: Annotated[
        str,
        _o(
            "Resolution",
            "Training size, one number or WxH.",
            unit="px",
            pattern=r"^\s*\d{1,5}\s*([xX,]\s*\d{1,5}\s*)?$",
            advice=(512, 1024),
        ),
    ] = "512"
    enable_bucket: Annotated[bool, _o("Buckets", "Keep each picture's aspect ratio by training in several sizes.")] = (
        True
    )
    min_bucket_reso: Annotated[int, _o("Smallest bucket side", "", unit="px", ge=8, advice=(256, 512))] = 256
    max_bucket_reso: Annotated[int, _o("Largest bucket side", "", unit="px", ge=8, advice=(768, 2048))] = 1024
    bucket_reso_steps: Annotated[
        int, _o("Bucket step", "Sides are multiples of this.", unit="px", ge=8, advice=(32, 64))
    ] = 64
    bucket_no_upscale: Annotated[
        bool, _o("Never enlarge", "Small pictures keep their size, rounded down to the step.")
    ] = False
    bucket_rule: Annotated[
        Literal["nearest-ratio", "sd-scripts"],
        _o("Bucket rule", "How the bucket is chosen: by ratio on a log scale, or as sd-scripts does it (to compare)."),
    ] = "nearest-ratio"
    flip_aug: Annotated[bool, _o("Mirror at random", "Not for asymmetric subjects. Works with cached latents.")] = False
    background: Annotated[
        str, _o("Background colour", "Transparent pictures are put on it.", pattern=r"^(#[0-9a-fA-F]{6}|[a-zA-Z]+)$")
    ] = "white"
    vae_batch_size: Annotated[int, _o("VAE batch", "Pictures encoded at once.", ge=1, advice=(1, 4))] = 1
    cache_latents_to_disk: Annotated[
        bool, _o("Keep latents", "Cache encoded pictures and texts on disk, so that a second run starts at once.")
    ] = True
    cache_size_gb: Annotated[float, _o("Cache limit", "Oldest entries go first.", unit="GB", ge=0, advice=(1, 50))] = (
        10.0
    )
