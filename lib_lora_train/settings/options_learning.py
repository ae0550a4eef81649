"""Options of optimiser, schedule, noise and loss."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section
from .section import option as _o


class OptimizerSettings(Section):
    """Optimiser"""

    optimizer_type: Annotated[
        Literal[
            "AdamW8bit",
            "AdamW",
            "Prodigy",
            "DAdaptAdam",
            "DAdaptLion",
            "AdaFactor",
            "AdamWScheduleFree",
            "CAME",
            "Lion",
            "Lion8bit",
            "PagedAdamW8bit",
            "SGDNesterov",
            "SGDNesterov8bit",
        ],
        _o(
            "Optimiser",
            "Prodigy and DAdapt find their rate by themselves (rate 1, constant scheduler), AdaFactor its schedule "
            "too. 8-bit kinds take least memory and need bitsandbytes; DAdapt, ScheduleFree, CAME and Lion need their "
            "packages. Lion learns fast, with odd colours, and wants a third to a tenth of AdamW's rate; SGD is slow.",
        ),
    ] = "AdamW8bit"
    optimizer_args: Annotated[
        str,
        _o(
            "Optimiser arguments",
            "`name=value` pairs separated by spaces, e.g. `weight_decay=0.01 betas=0.9,0.99`. Prodigy's `d_coef` is "
            "0.5 to 2, up to 10 for ranks up to 8 and IA3.",
        ),
    ] = ""
    learning_rate: Annotated[
        float, _o("Learning rate", "Master rate; adaptive optimisers want 1.", ge=0, advice=(1e-5, 2.0))
    ] = 1e-4
    unet_lr: Annotated[float, _o("U-Net rate", "0 means the master rate.", ge=0, advice=(5e-5, 2.0))] = 0.0
    text_encoder_lr: Annotated[
        float,
        _o("Text encoder rate", "0 means the master rate; usually half of the U-Net's.", ge=0, advice=(1e-5, 2.0)),
    ] = 5e-5
    scale_lr: Annotated[
        Literal["no", "sqrt", "linear"],
        _o(
            "Rates grow with batch",
            "Rates are meant for one picture per step and are multiplied by the square root of batch times "
            "accumulation, or by all of it. Not for optimisers that find their own rate.",
        ),
    ] = "no"
    lr_scheduler: Annotated[
        Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"],
        _o("Scheduler", "How the rate changes over the run."),
    ] = "cosine_with_restarts"
    lr_warmup_steps: Annotated[
        float,
        _o("Warm-up", "Steps, or a share of the run: below 1, or as `10%`.", unit="steps", ge=0, advice=(0, 500)),
    ] = 0.0
    lr_scheduler_num_cycles: Annotated[int, _o("Cycles", "Of cosine_with_restarts.", ge=1, advice=(1, 12))] = 1
    lr_scheduler_power: Annotated[
        float, _o("Power", "Of polynomial: 1 is a straight line, 2 falls fast first.", ge=0, advice=(0.5, 4))
    ] = 1.0
    max_grad_norm: Annotated[float, _o("Clip gradients", "Largest gradient norm; 0 switches clipping off.", ge=0)] = 1.0


class LossSettings(Section):
    """Loss and noise"""

    v_parameterization: Annotated[
        Literal["auto", "yes", "no"], _o("v-prediction", "auto: as detected from the loaded checkpoint.")
    ] = "auto"
    zero_terminal_snr: Annotated[
        Literal["auto", "yes", "no"], _o("Zero terminal SNR", "auto: as detected from the loaded checkpoint.")
    ] = "auto"
    min_snr_gamma: Annotated[
        float,
        _o(
            "Min-SNR gamma",
            "1 strong .. 20 none, 5 usual (with Prodigy 5 or less for characters, 5 or more for styles); 1 more learns "
            "a little slower; 0 switches it off.",
            ge=0,
            advice=(1, 20),
        ),
    ] = 5.0
    noise_offset: Annotated[
        float,
        _o(
            "Noise offset",
            "0.06-0.1 usual; more gives strong contrast, and 0.1 more learns much slower.",
            ge=0,
            advice=(0, 1),
        ),
    ] = 0.0
    noise_offset_random_strength: Annotated[
        bool, _o("Random offset strength", "Each sample draws its share of the noise offset.")
    ] = False
    adaptive_noise_scale: Annotated[
        float,
        _o(
            "Adaptive offset",
            "Adds this times a picture's mean latent to the offset; negative takes away.",
            advice=(-0.1, 0.1),
        ),
    ] = 0.0
    multires_noise_iterations: Annotated[
        int,
        _o(
            "Multires levels",
            "Coarser noise over the fine, for large areas; 6-10 usual, 0: off.",
            ge=0,
            le=64,
            advice=(1, 10),
        ),
    ] = 0
    multires_noise_discount: Annotated[
        float, _o("Multires discount", "What each coarser level counts; 0.1-0.4 usual.", ge=0, le=1, advice=(0.1, 0.4))
    ] = 0.3
    ip_noise_gamma: Annotated[
        float, _o("Input perturbation", "More noise in the input than in the target; 0.1 usual.", ge=0, advice=(0, 0.2))
    ] = 0.0
    ip_noise_gamma_random_strength: Annotated[
        bool, _o("Random perturbation", "Each sample draws its share of the input perturbation.")
    ] = False
    min_timestep: Annotated[
        int, _o("First timestep", "Only noise from here on is trained: details below, composition above.", ge=0, le=999)
    ] = 0
    max_timestep: Annotated[int, _o("Last timestep", "Up to here, itself excluded; 1000 is all.", ge=0, le=1000)] = 1000
    timestep_sampling: Annotated[
        Literal["uniform", "sigmoid", "logit_normal", "mode", "cosmap", "shift"],
        _o(
            "Timesteps",
            "How often each amount of noise is trained. uniform: all alike, as these models were made; the others "
            "favour the middle, each with its own number below; shift moves it towards noise (composition).",
        ),
    ] = "uniform"
    sigmoid_scale: Annotated[
        float, _o("Sigmoid scale", "Of sigmoid and shift: larger is wider.", ge=0.01, advice=(0.5, 2))
    ] = 1.0
    logit_mean: Annotated[
        float, _o("Logit mean", "Of logit_normal: above 0 more noise, below 0 more detail.", advice=(-1, 1))
    ] = 0.0
    logit_std: Annotated[
        float, _o("Logit deviation", "Of logit_normal: larger is wider.", ge=0.01, advice=(0.5, 2))
    ] = 1.0
    mode_scale: Annotated[
        float,
        _o("Mode scale", "Of mode: above 0 the middle, below 0 both ends.", ge=-1, le=1.75, advice=(-0.5, 1.75)),
    ] = 1.29
    discrete_flow_shift: Annotated[
        float, _o("Shift", "Of shift: above 1 towards noise, below 1 towards detail.", ge=0.01, advice=(0.5, 3))
    ] = 1.0
    loss_type: Annotated[
        Literal["l2", "l1", "huber", "smooth_l1"],
        _o("Loss", "huber and smooth_l1 heed outliers less: better with flawed pictures."),
    ] = "l2"
    huber_schedule: Annotated[
        Literal["snr", "exponential", "constant"], _o("Huber schedule", "How the threshold falls as noise grows.")
    ] = "snr"
    huber_c: Annotated[
        float, _o("Huber threshold", "At full noise; errors above it count less.", ge=1e-6, advice=(0.01, 1))
    ] = 0.1
    huber_scale: Annotated[float, _o("Huber scale", "Multiplies the threshold.", ge=1e-6, advice=(0.1, 10))] = 1.0
    debiased_estimation_loss: Annotated[
        bool, _o("Debiased estimation", "Noisier timesteps count more; instead of min-SNR, not with it.")
    ] = False
    scale_v_pred_loss_like_noise_pred: Annotated[
        bool, _o("Scale v-prediction loss", "Velocity errors count as those of the noise; only for v-prediction.")
    ] = False
    v_pred_like_loss: Annotated[
        float,
        _o(
            "Velocity-like loss",
            "Adds the velocity's error times this; not for v-prediction; 0: off.",
            ge=0,
            advice=(0, 1),
        ),
    ] = 0.0
    snr_rule: Annotated[
        Literal["schedule", "sd-scripts"],
        _o(
            "SNR of weights",
            "With zero terminal SNR: of the schedule trained on, or of the plain one as sd-scripts does (to compare).",
        ),
    ] = "schedule"
    prior_loss_weight: Annotated[
        float, _o("Regularisation weight", "Weight of regularisation pictures in the loss.", ge=0)
    ] = 1.0
