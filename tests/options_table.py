"""Every option with a value that must show: one row each, held complete by test_options_act.py.

`Act(value, shows, given)`: `value` is set on top of `given` (else on options_stage.BASE), and the side of the run named
`shows` (a field of options_stage.Seen) has to differ from the same run without it. A value may be a function of the
stage, for folders and files. `published` and `card` need the whole program, so they cost a little more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Act:
    value: Any
    shows: str
    given: dict[str, Any] = field(default_factory=dict)


def numbers(value: float, other: float = 0, at: int = 12) -> str:
    """25 numbers, one per block of SD1; the middle block's is `other`."""
    return ",".join(str(other if index == at else value) for index in range(25))


def weights_of(**changes: Any) -> Any:
    return lambda stage: str(stage.trained({"seed": 7, **changes}))


_FLAT = {"train_data_dir": lambda stage: str(stage.flat)}
_REG = {"reg_data_dir": lambda stage: str(stage.reg)}
_SHUFFLED = {"shuffle_caption": True}
_WARM = {"token_warmup_step": 10}
_CONV = {"network_type": "LoCon", "conv_dim": 2}
_LOKR = {"network_type": "LoKr", "network_dim": 2}
_DYLORA = {"network_type": "DyLoRA", "network_dim": 4}
_OFT = {"network_type": "OFT", "network_dim": 2}
_V = {"v_parameterization": "yes"}
_ZERO_SNR = {**_V, "zero_terminal_snr": "yes", "min_snr_gamma": 5.0, "max_timestep": 1000, "min_timestep": 900}
_HUBER = {"loss_type": "huber"}
_ALL = {"max_train_epochs": 1}  # so that every picture comes
_EPOCHS = {"max_train_epochs": 2}
_DRAWN = {"sample_at_first": True, "sample_prompts": "a pib"}

NAMING = {
    "output_name": Act("else", "files"),
    "output_folder": Act("people", "published"),
    "trigger_word": Act("zob", "metadata"),
    "activation_text": Act("call me", "card"),
    "preferred_weight": Act(0.8, "card"),
    "training_comment": Act("hello", "metadata"),
}
DATA = {
    "train_data_dir": Act(lambda stage: str(stage.other), "batches"),
    "reg_data_dir": Act(lambda stage: str(stage.reg), "batches"),
    "dataset_repeats": Act(3, "length", {**_FLAT, **_ALL}),
    "resolution": Act("96", "batches"),
    "enable_bucket": Act(False, "batches"),
    "min_bucket_reso": Act(64, "batches"),
    "max_bucket_reso": Act(96, "batches", _ALL),
    "bucket_reso_steps": Act(64, "batches", {**_ALL, "min_bucket_reso": 64, "resolution": "96"}),
    "bucket_no_upscale": Act(True, "batches"),
    "bucket_rule": Act("sd-scripts", "batches", {"resolution": "96"}),
    "flip_aug": Act(True, "batches"),
    "color_aug": Act(True, "batches"),
    "random_crop": Act(True, "batches"),
    "crop_aug": Act(0.4, "batches"),
    "face_crop_aug_range": Act("2.0,4.0", "batches", {"train_data_dir": lambda stage: str(stage.faces)}),
    "alpha_mask": Act(True, "losses"),
    "masked_loss": Act(True, "losses", {"conditioning_data_dir": lambda stage: str(stage.masks)}),
    "conditioning_data_dir": Act(lambda stage: str(stage.masks), "losses", {"masked_loss": True, "alpha_mask": True}),
    "background": Act("black", "batches"),
    "vae_batch_size": Act(4, "encodings"),
    "cache_latents_to_disk": Act(True, "cached"),
    "cache_size_gb": Act(0.0, "cached", {"cache_latents_to_disk": True}),
}
CAPTIONS = {
    "caption_mode": Act("none", "captions"),
    "caption_phrase": Act("a pib", "captions", {"caption_mode": "phrase"}),
    "caption_extension": Act(".other", "captions"),
    "caption_separator": Act(";;", "captions", _SHUFFLED),
    "shuffle_caption": Act(True, "captions"),
    "keep_tokens": Act(2, "captions", _SHUFFLED),
    "keep_tokens_separator": Act("|||", "captions", _SHUFFLED),
    "secondary_separator": Act(";;", "captions", _SHUFFLED),
    "caption_prefix": Act("photo of", "captions"),
    "caption_suffix": Act("in colour", "captions"),
    "enable_wildcard": Act(True, "captions"),
    "weighted_captions": Act(True, "weights"),
    "caption_dropout_rate": Act(0.9, "captions"),
    "caption_dropout_every_n_epochs": Act(1, "captions"),
    "caption_tag_dropout_rate": Act(0.5, "captions"),
    "token_warmup_step": Act(10, "captions"),
    "token_warmup_min": Act(3, "captions", _WARM),
    "caption_rule": Act("sd-scripts", "captions", {"keep_tokens_separator": "|||"}),
    "max_token_length": Act(150, "weights"),
}
NETWORK = {
    "network_type": Act("LoHa", "shapes"),
    "network_dim": Act(4, "shapes"),
    "network_alpha": Act(1.0, "weights"),
    "conv_dim": Act(4, "shapes", _CONV),
    "conv_alpha": Act(2.0, "weights", _CONV),
    "train_unet": Act(False, "shapes"),
    "train_text_encoder": Act(False, "shapes"),
    "network_weights": Act(weights_of(), "weights"),
    "dim_from_weights": Act(True, "weights", {"network_weights": weights_of(network_alpha=1.0)}),
    "weight_decompose": Act(True, "shapes"),
    "use_tucker": Act(True, "shapes", _CONV),
    "factor": Act(4, "shapes", _LOKR),
    "decompose_both": Act(True, "shapes", {**_LOKR, "factor": 8, "network_dim": 1}),
    "full_matrix": Act(True, "shapes", _LOKR),
    "dylora_unit": Act(1, "weights", _DYLORA),
    "constraint": Act(1e-4, "weights", _OFT),
    "network_preset": Act("full", "shapes"),
    "train_self_attention": Act(False, "shapes"),
    "train_cross_attention": Act(False, "shapes"),
    "train_feed_forward": Act(False, "shapes"),
    "train_projections": Act(False, "shapes"),
    "train_norm": Act(True, "shapes"),
    "block_dims": Act(numbers(2, 4), "shapes"),
    "block_alphas": Act(numbers(2, 1), "weights"),
    "conv_block_dims": Act(numbers(2, 4), "shapes", _CONV),
    "conv_block_alphas": Act(numbers(2, 1), "weights", _CONV),
    "block_lr_weight": Act("in", "weights"),
    "down_lr_weight": Act("sine", "weights"),
    "mid_lr_weight": Act("0.5", "weights"),
    "up_lr_weight": Act("cosine", "weights"),
    "block_lr_zero_threshold": Act(0.6, "shapes", {"block_lr_weight": numbers(1, 0.5)}),
    "loraplus_lr_ratio": Act(8.0, "weights"),
    "loraplus_unet_lr_ratio": Act(8.0, "weights"),
    "loraplus_text_encoder_lr_ratio": Act(8.0, "weights"),
    "network_dropout": Act(0.5, "weights"),
    "rank_dropout": Act(0.5, "weights"),
    "module_dropout": Act(0.5, "weights"),
    "scale_weight_norms": Act(1e-4, "weights"),
}
OPTIMIZER = {
    "optimizer_type": Act("SGDNesterov", "weights"),
    "optimizer_args": Act("weight_decay=0.9", "weights"),
    "learning_rate": Act(5e-4, "rates"),
    "unet_lr": Act(5e-4, "rates"),
    "text_encoder_lr": Act(5e-4, "rates"),
    "scale_lr": Act("sqrt", "rates", {"train_batch_size": 2}),
    "lr_scheduler": Act("linear", "rates"),
    "lr_warmup_steps": Act(2.0, "rates", {"lr_scheduler": "cosine"}),
    "lr_scheduler_num_cycles": Act(3, "rates", {"lr_scheduler": "cosine_with_restarts"}),
    "lr_scheduler_power": Act(3.0, "rates", {"lr_scheduler": "polynomial"}),
    "max_grad_norm": Act(1e-4, "weights"),
}
LOSS = {
    "v_parameterization": Act("yes", "losses"),
    "zero_terminal_snr": Act("yes", "losses", _V),
    "min_snr_gamma": Act(1.0, "losses"),
    "noise_offset": Act(0.5, "losses"),
    "noise_offset_random_strength": Act(True, "losses", {"noise_offset": 0.5}),
    "adaptive_noise_scale": Act(0.5, "losses", {"noise_offset": 0.5}),
    "multires_noise_iterations": Act(3, "losses"),
    "multires_noise_discount": Act(0.9, "losses", {"multires_noise_iterations": 3}),
    "ip_noise_gamma": Act(0.5, "losses"),
    "ip_noise_gamma_random_strength": Act(True, "losses", {"ip_noise_gamma": 0.5}),
    "min_timestep": Act(990, "losses"),
    "max_timestep": Act(10, "losses"),
    "timestep_sampling": Act("sigmoid", "losses"),
    "sigmoid_scale": Act(3.0, "losses", {"timestep_sampling": "sigmoid"}),
    "logit_mean": Act(2.0, "losses", {"timestep_sampling": "logit_normal"}),
    "logit_std": Act(3.0, "losses", {"timestep_sampling": "logit_normal"}),
    "mode_scale": Act(-0.5, "losses", {"timestep_sampling": "mode"}),
    "discrete_flow_shift": Act(4.0, "losses", {"timestep_sampling": "shift"}),
    "loss_type": Act("l1", "losses"),
    "huber_schedule": Act("constant", "losses", _HUBER),
    "huber_c": Act(0.5, "losses", _HUBER),
    "huber_scale": Act(2.0, "losses", {**_HUBER, "huber_schedule": "constant"}),
    "debiased_estimation_loss": Act(True, "losses"),
    "scale_v_pred_loss_like_noise_pred": Act(True, "losses", _V),
    "v_pred_like_loss": Act(0.5, "losses"),
    "snr_rule": Act("sd-scripts", "losses", _ZERO_SNR),
    "prior_loss_weight": Act(0.1, "batches", _REG),
}
TRAINING = {
    "max_train_steps": Act(2, "length"),
    "max_train_epochs": Act(1, "length"),
    "train_batch_size": Act(1, "batches"),
    "gradient_accumulation_steps": Act(2, "weights"),
    "gradient_checkpointing": Act(True, "checkpointing"),
    "mixed_precision": Act("bf16", "losses"),
    "clip_skip": Act(2, "weights"),
    "seed": Act(7, "weights"),
}
SAVING = {
    "save_precision": Act("fp16", "shapes"),
    "save_every_n_steps": Act(1, "files"),
    "save_every_n_epochs": Act(1, "files", _EPOCHS),
    "save_state_every_n_steps": Act(1, "files"),
    "publish_snapshots": Act(False, "published", {"save_every_n_steps": 2}),
    "sample_every_n_steps": Act(2, "pictures"),
    "sample_every_n_epochs": Act(1, "pictures", _EPOCHS),
    "sample_at_first": Act(True, "pictures"),
    "sample_prompts": Act("a red pib", "pictures", {"sample_at_first": True}),
    "sample_negative": Act("blue", "pictures", _DRAWN),
    "sample_steps": Act(3, "pictures", _DRAWN),
    "sample_cfg": Act(3.0, "pictures", _DRAWN),
    "sample_size": Act("96x64", "pictures", _DRAWN),
    "sample_seed": Act(5, "pictures", _DRAWN),
    "make_thumbnail": Act(True, "published"),
}
ACTS: dict[str, Act] = {**NAMING, **DATA, **CAPTIONS, **NETWORK, **OPTIMIZER, **LOSS, **TRAINING, **SAVING}
