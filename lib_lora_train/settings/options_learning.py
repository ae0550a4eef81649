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
        _o("Optimiser arguments", "`name=value` pairs separated by spaces, e.g. `weight_decay=0.01 betas=0.9,0.99`."),
    ] = ""
    learning_rate: Annotated[
        float, _o("Learning rate", "Master rate; adaptive optimisers want 1.", ge=0, advice=(1e-5, 2.0))
    ] = 1e-4
    unet_lr: Annotated[float, _o("U-Net rate", "0 means the master rate.", ge=0, advice=(5e-5, 2.0))] = 0.0
    text_encoder_lr: Annotated[
        float,
        _o("Text encoder rate", "0 means the master rate; usually half of the U-Net's.", ge=0, advice=(1e-5, 2.0)),
    ] = 5e-5
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
        float, _o("Min-SNR gamma", "1 strong .. 20 none, 5 usual; 0 switches it off.", ge=0, advice=(1, 20))
    ] = 5.0
    noise_offset: Annotated[
        float, _o("Noise offset", "0.06-0.1 usual; more gives strong contrast.", ge=0, advice=(0, 1))
    ] = 0.0
    prior_loss_weight: Annotated[
        float, _o("Regularisation weight", "Weight of regularisation pictures in the loss.", ge=0)
    ] = 1.0
