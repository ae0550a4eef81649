"""Options of pictures: folders, buckets, augmentation, masks, caches."""

from __future__ import annotations

from typing import Annotated, Literal

from ..errors import SettingsError
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
            "Training size, one number or WxH. 512, newer bases 576 to 768, SDXL 1024; 64 px more slow learning much.",
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
    color_aug: Annotated[
        bool,
        _o(
            "Vary colours at random",
            "A little hue, saturation and brightness at each use. Pictures are then encoded anew each time: slower.",
        ),
    ] = False
    random_crop: Annotated[
        bool,
        _o(
            "Cut at random",
            "Where a picture is larger than its bucket, the part that stays is drawn at each use, not the middle. "
            "Pictures are then encoded anew each time: slower.",
        ),
    ] = False
    crop_aug: Annotated[
        float,
        _o(
            "Zoom at random",
            "Up to this share of the sides is cut away at each use; 0: off. Pictures are then encoded anew each time.",
            ge=0,
            le=0.9,
            advice=(0.05, 0.4),
        ),
    ] = 0.0
    face_crop_aug_range: Annotated[
        str,
        _o(
            "Zoom to faces",
            "`2.0,4.0`: cut around the face so that the short side is 2 to 4 faces; empty: off. The face is found in "
            "the picture, or told by a name that ends in `_x_y_width_height`. Encoded anew each time: slower.",
            pattern=r"^(\s*\d{1,3}(\.\d{1,4})?\s*,\s*\d{1,3}(\.\d{1,4})?\s*)?$",
        ),
    ] = ""
    alpha_mask: Annotated[
        bool, _o("Transparency as mask", "The more transparent a part of a picture, the less its error counts.")
    ] = False
    masked_loss: Annotated[
        bool, _o("Mask pictures", "White parts of a picture's mask count, black ones do not, grey ones in part.")
    ] = False
    conditioning_data_dir: Annotated[
        str,
        _o(
            "Folder of masks",
            "Pictures of the same names as those they belong to, in the same concept folders or all in one folder.",
        ),
    ] = ""
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


def varies(data: DataSettings) -> bool:
    """Whether a picture differs from use to use, so that its latents cannot be kept. (A mirrored one is kept twice.)"""
    return data.color_aug or recuts(data)


def recuts(data: DataSettings) -> bool:
    """Whether the part of a picture that is used differs from use to use."""
    return data.random_crop or data.crop_aug > 0 or face_range(data) is not None


def face_range(data: DataSettings) -> tuple[float, float] | None:
    """(least, most) faces along the short side; None: faces do not matter. Raises SettingsError for zeros."""
    if not data.face_crop_aug_range.strip():
        return None
    low, high = sorted(float(number) for number in data.face_crop_aug_range.split(","))
    if low <= 0:
        raise SettingsError(
            "`face_crop_aug_range` holds a zero.", "Write 2.0,4.0, or leave it empty.", "face_crop_aug_range"
        )
    return low, high
