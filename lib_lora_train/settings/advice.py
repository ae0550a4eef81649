"""What does not go together or lies outside the guides' ranges, said at the field instead of trained badly."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .describe import fields
from .load import to_mapping
from .schema import OptimizerSettings, Settings, size_of

ADAPTIVE = ("Prodigy", "DAdaptAdam", "DAdaptLion")
_D_ADAPTATION = ("DAdaptAdam", "DAdaptLion")


@dataclass(frozen=True)
class Facts:
    """What advice needs to know besides the recipe; zero and empty mean unknown."""

    family: str = ""
    prediction: str = ""
    pictures: int = 0
    steps: int = 0
    memory_gb: float = 0.0
    memory_free_gb: float = 0.0
    weights_dtype: str = ""


@dataclass(frozen=True)
class Advice:
    """`level` is warning (trains anyway) or error (refused)."""

    field: str
    text: str
    level: str = "warning"


def advise(settings: Settings, facts: Facts | None = None) -> list[Advice]:
    """All advice, errors first."""
    facts = facts or Facts()
    found = [item for rule in _RULES for item in rule(settings, facts)]
    return sorted(found, key=lambda item: item.level != "error")


def _ranges(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    values = to_mapping(settings)
    for name, field in fields().items():
        if not field["advice"] or field["type"] not in ("int", "float") or not values[name]:
            continue
        low, high = field["advice"]
        if not low <= values[name] <= high:
            yield Advice(
                name, f"{field['label']} is usually {low} to {high}{' ' + field['unit'] if field['unit'] else ''}."
            )


def _network(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    net = settings.network
    if not (net.train_unet or net.train_text_encoder):
        yield Advice("train_unet", "Neither U-Net nor text encoder is trained: switch one of them on.", "error")
    if net.network_alpha > net.network_dim:
        yield Advice(
            "network_alpha", f"Alpha {net.network_alpha:g} is above the rank {net.network_dim}: it learns too hot."
        )
    if net.network_type in ("LoCon", "LoHa", "LoKr") and net.conv_alpha > net.conv_dim:
        yield Advice("conv_alpha", "Convolution alpha is above its rank: it learns too hot.")


def _kinds(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    net, opt = settings.network, settings.optimizer
    if net.network_type in ("OFT", "BOFT") and not net.constraint:
        text = f"AUTOMATIC1111's web UI, Forge Neo and reForge apply {net.network_type}; Forge does not."
        yield Advice("network_type", text)
    elif net.network_type in ("IA3", "OFT", "BOFT"):
        kind = f"{net.network_type} with a constraint" if net.network_type != "IA3" else "IA3"
        yield Advice("network_type", f"AUTOMATIC1111's web UI applies {kind}; Forge and its kin do not.")
    if net.network_type == "IA3" and 0 < (opt.unet_lr or opt.learning_rate) < 5e-4:
        yield Advice("learning_rate", "IA3 wants 8 to 10 times the usual rate: about 1e-3.")
    if net.network_type == "LoHa" and max(net.network_dim, net.conv_dim) > 32:
        yield Advice("network_dim", "LoHa is slow above rank 32 and may end in numbers that are none.")
    if net.network_type == "BOFT" and net.network_dim < 10:
        yield Advice("network_dim", "BOFT finds blocks in the U-Net's layers from rank 10 on.")
    if net.network_type == "DyLoRA" and net.network_dim % net.dylora_unit:
        yield Advice("dylora_unit", f"The rank {net.network_dim} is no multiple of the unit {net.dylora_unit}.")
    if net.dim_from_weights and not net.network_weights.strip():
        yield Advice("dim_from_weights", "There is no file to continue from, so the ranks above count.")


def _many_rates(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    """Adaptive optimisers find one rate for all; blocks may only be left out."""
    net = settings.network
    if settings.optimizer.optimizer_type not in ADAPTIVE:
        return
    for field in ("block_lr_weight", "down_lr_weight", "mid_lr_weight", "up_lr_weight"):
        text = getattr(net, field).strip()
        rates = {item.strip() for item in text.split(",")} if re.match(r"[\d.,]", text) else {text}
        if rates - {"", "0", "1", "0.0", "1.0", "all", "in", "out", "zeros"}:
            yield Advice(field, "Adaptive optimisers take one rate for all: only 0 and 1 here.", "error")
    for field in ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"):
        if getattr(net, field) not in (0, 1):
            yield Advice(field, "Adaptive optimisers take one rate for all: set this to 0.", "error")


def _adaptive(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    opt = settings.optimizer
    if opt.optimizer_type not in ADAPTIVE:
        return
    unet, text = opt.unet_lr or opt.learning_rate, opt.text_encoder_lr or opt.learning_rate
    if settings.network.train_unet and settings.network.train_text_encoder and unet != text:
        yield Advice(
            "text_encoder_lr", f"{opt.optimizer_type} takes one rate for all; set both to 0 (master).", "error"
        )
    if max(unet, text) < 0.1:
        yield Advice("learning_rate", f"{opt.optimizer_type} finds its own rate: 1 (0.1 to 2) is usual here.")
    if opt.scale_lr != "no":
        yield Advice("scale_lr", f"{opt.optimizer_type} finds its own rate whatever the batch: no.")
    if not opt.lr_scheduler.startswith("constant"):
        yield Advice("lr_scheduler", f"{opt.optimizer_type} works best with `constant`.")
    if opt.optimizer_type == "Prodigy" and opt.lr_scheduler == "constant_with_warmup" and not _safeguarded(opt):
        yield Advice("optimizer_args", "With a warm-up Prodigy wants `safeguard_warmup=True`.")
    if settings.loss.min_snr_gamma and opt.optimizer_type in _D_ADAPTATION:
        yield Advice("min_snr_gamma", "D-Adaptation misjudges its step with min-SNR: set it to 0, or use Prodigy.")
    elif settings.loss.min_snr_gamma > 5:
        yield Advice("min_snr_gamma", "With adaptive optimisers 5 or less for characters; more only for styles.")


def _safeguarded(opt: OptimizerSettings) -> bool:
    return bool(re.search(r"\bsafeguard_warmup\s*=\s*(True|1)\b", opt.optimizer_args))


def drives_itself(opt: OptimizerSettings) -> bool:
    """AdaFactor with its relative steps, which are on unless the arguments switch them off."""
    return opt.optimizer_type == "AdaFactor" and not re.search(r"\brelative_step\s*=\s*(False|0)\b", opt.optimizer_args)


def _own_schedule(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    opt = settings.optimizer
    if drives_itself(opt):
        if not opt.lr_scheduler.startswith("constant") or opt.lr_warmup_steps:
            yield Advice("lr_scheduler", "AdaFactor sets its own schedule (relative_step=True): this one is not used.")
        yield Advice("learning_rate", "AdaFactor sets its own rates (relative_step=True): these are not used.")
    if opt.optimizer_type == "AdamWScheduleFree" and not opt.lr_scheduler.startswith("constant"):
        yield Advice("lr_scheduler", "Schedule-free training averages instead of lowering the rate: use `constant`.")


def _fixed_rates(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    opt = settings.optimizer
    highest = max(opt.learning_rate, opt.unet_lr)
    most = 0.1 if opt.optimizer_type.startswith("SGD") or settings.network.network_type == "IA3" else 5e-3
    if highest > most and not drives_itself(opt) and opt.optimizer_type not in ADAPTIVE:
        yield Advice("learning_rate", f"{opt.optimizer_type} burns at {highest:g}; 1e-4 is usual (5e-5 to 5e-3).")
    elif opt.optimizer_type.startswith("Lion") and highest > 1e-4:
        yield Advice("learning_rate", "Lion wants a third to a tenth of AdamW's rate: 1e-5 to 1e-4.")
    if opt.lr_scheduler == "polynomial" and opt.lr_scheduler_power == 0:
        yield Advice("lr_scheduler_power", "Power 0 is a constant rate.")


def _schedule(settings: Settings, facts: Facts) -> Iterator[Advice]:
    opt = settings.optimizer
    if opt.lr_scheduler == "constant" and opt.lr_warmup_steps:
        yield Advice("lr_warmup_steps", "`constant` has no warm-up; choose `constant_with_warmup`.", "error")
    if opt.lr_scheduler == "constant_with_warmup" and not opt.lr_warmup_steps:
        yield Advice("lr_warmup_steps", "No warm-up given: the same as `constant`.")
    if facts.steps and opt.lr_warmup_steps >= max(facts.steps, 1):
        yield Advice("lr_warmup_steps", f"Warm-up is as long as the run ({facts.steps} steps).", "error")


def _pictures(settings: Settings, facts: Facts) -> Iterator[Advice]:
    data = settings.data
    if data.min_bucket_reso > data.max_bucket_reso:
        yield Advice("min_bucket_reso", "The smallest bucket side is above the largest.", "error")
    width, height = size_of(data.resolution)
    if min(width, height) < 64:
        yield Advice("resolution", "Resolution is below 64 px.", "error")
    if width * height > data.max_bucket_reso**2:
        yield Advice("max_bucket_reso", "The largest bucket side is below the resolution.")
    if data.masked_loss and not (data.conditioning_data_dir.strip() or data.alpha_mask):
        yield Advice("conditioning_data_dir", "Give the folder of the masks, or use transparency as mask.", "error")
    for field in ("color_aug", "random_crop", "crop_aug", "face_crop_aug_range"):
        if getattr(data, field):
            yield Advice(
                field, "Latents are not cached with it: pictures are encoded anew at every use, which is slower."
            )
    if facts.pictures and facts.pictures < 10:
        yield Advice("train_data_dir", f"{facts.pictures} pictures are few: more steps, regularisation or edits help.")


def _captions(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    captions, words = settings.captions, settings.naming
    if captions.caption_mode == "phrase" and not (captions.caption_phrase or words.trigger_word):
        yield Advice("caption_phrase", "Give the phrase, or a trigger word.", "error")
    kept = captions.keep_tokens or captions.keep_tokens_separator or words.trigger_word in captions.caption_prefix
    if captions.shuffle_caption and words.trigger_word and not kept:
        yield Advice("keep_tokens", "Shuffling without kept tags moves the trigger word from its place: keep 1.")


def _losses(settings: Settings, _facts: Facts) -> Iterator[Advice]:
    loss = settings.loss
    if loss.debiased_estimation_loss and loss.min_snr_gamma:
        yield Advice("debiased_estimation_loss", "Debiased estimation works against min-SNR: set Min-SNR gamma to 0.")
    if loss.scale_v_pred_loss_like_noise_pred and loss.min_snr_gamma:
        yield Advice(
            "min_snr_gamma",
            "Min-SNR balances a v-prediction's loss already; with it scaled as well it counts twice: 0.",
        )
    if loss.min_timestep > loss.max_timestep:
        yield Advice("min_timestep", "The first timestep is above the last.", "error")


def _base(settings: Settings, facts: Facts) -> Iterator[Advice]:
    wanted = settings.loss.v_parameterization
    if facts.prediction and wanted != "auto" and (wanted == "yes") != (facts.prediction == "v_prediction"):
        yield Advice("v_parameterization", f"The loaded checkpoint says {facts.prediction}; this trains the other.")
    if facts.memory_gb and facts.memory_free_gb and facts.memory_gb > facts.memory_free_gb:
        yield Advice(
            "train_batch_size",
            f"Needs about {facts.memory_gb:.1f} GB, {facts.memory_free_gb:.1f} GB are free: lower the batch size, then "
            "the resolution, then switch on gradient checkpointing.",
        )


_RULES: tuple[Callable[[Settings, Facts], Iterator[Any]], ...] = (
    _ranges, _network, _kinds, _many_rates,
    _adaptive, _own_schedule, _fixed_rates, _schedule, _pictures, _captions, _losses,
    _base,
)  # fmt: skip
