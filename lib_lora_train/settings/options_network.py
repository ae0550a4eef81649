"""Options of the network: kind, ranks, where it hangs, how it is kept from learning too much by heart."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section
from .section import option as _o

_LISTS = "One per block, as `block_lr_weight`; 0: nothing is trained there; empty: the same everywhere."


class NetworkSettings(Section):
    """Network"""

    network_type: Annotated[
        Literal["LoRA", "LoCon", "LoHa", "LoKr", "IA3", "DyLoRA", "GLoRA", "OFT", "BOFT", "full"],
        _o(
            "Type",
            "LoRA: attention and linear layers (LierLa). LoCon: also 3x3 convolutions (C3Lier), for styles. LoHa: "
            "slow, rank 8-32. LoKr: tiny files. DyLoRA: works at every lower rank, good for resizing. GLoRA: the "
            "weight itself takes part. full: whole weights, very large files. IA3, OFT, BOFT: tiny files, which "
            "AUTOMATIC1111's web UI applies, Forge does not (Forge Neo and reForge: OFT and BOFT).",
        ),
    ] = "LoRA"
    network_dim: Annotated[
        int,
        _o(
            "Rank (dim)",
            "8-16 simple characters, 32-64 characters, 64-128 styles, 128 and more machines and monsters. 16 less "
            "learn a little slower.",
            ge=1,
            advice=(1, 768),
        ),
    ] = 32
    network_alpha: Annotated[
        float,
        _o(
            "Alpha",
            "Scale is alpha / rank; 0 means rank. Half the rank, or 1 with adaptive optimisers; 16 less learn slower.",
            ge=0,
        ),
    ] = 16.0
    conv_dim: Annotated[
        int, _o("Convolution rank", "Rank of 3x3 convolutions, where the type trains them.", ge=1, advice=(1, 128))
    ] = 8
    conv_alpha: Annotated[float, _o("Convolution alpha", "0 means the convolution rank.", ge=0)] = 1.0
    train_unet: Annotated[bool, _o("Train U-Net", "Off: only the text encoder learns.")] = True
    train_text_encoder: Annotated[
        bool, _o("Train text encoder", "Off saves memory and time, and caches text outputs.")
    ] = True
    network_weights: Annotated[
        str, _o("Continue from", "A LoRA file whose weights are the start; empty starts from scratch.")
    ] = ""
    dim_from_weights: Annotated[
        bool,
        _o(
            "Type and ranks of the file",
            "Continue with the file's own types, ranks and alphas, layer by layer, instead of those above.",
        ),
    ] = False
    weight_decompose: Annotated[
        bool,
        _o(
            "DoRA",
            "Lengths and directions of the weights learn apart: closer to full training, slower. For LoRA, LoCon, LoHa "
            "and LoKr.",
        ),
    ] = False
    use_tucker: Annotated[
        bool,
        _o(
            "Decompose convolutions",
            "Smaller files where 3x3 convolutions are trained (Tucker). For LoRA, LoCon, LoHa and LoKr.",
        ),
    ] = False
    factor: Annotated[
        int,
        _o("LoKr factor", "Smaller factor, larger file; 4-16 usual, -1: the smallest file.", ge=-1, advice=(-1, 64)),
    ] = -1
    decompose_both: Annotated[bool, _o("LoKr: decompose both", "Also its small matrix is of low rank.")] = False
    full_matrix: Annotated[bool, _o("LoKr: full matrix", "Its large matrix is whole, whatever the rank.")] = False
    dylora_unit: Annotated[
        int, _o("DyLoRA unit", "Ranks trained at once; the rank is a multiple of it.", ge=1, advice=(1, 16))
    ] = 4
    constraint: Annotated[
        float,
        _o(
            "OFT constraint",
            "How far OFT and BOFT may turn the weights; 0: at will, which Forge Neo and reForge need.",
            ge=0,
            advice=(1e-5, 0.1),
        ),
    ] = 0.0
    network_preset: Annotated[
        Literal["auto", "attn-only", "attn-mlp", "attn-conv", "convblock-only", "full-lin", "full"],
        _o(
            "Layers",
            "auto: the type's own. attn-only: attention. attn-mlp: the attention blocks (LierLa). attn-conv: also the "
            "ResNet blocks (C3Lier). convblock-only: only these. full-lin: all but 3x3 convolutions. full: also the "
            "first and last layers.",
        ),
    ] = "auto"
    train_self_attention: Annotated[bool, _o("Self-attention", "How parts of the picture go together.")] = True
    train_cross_attention: Annotated[bool, _o("Cross-attention", "How the picture follows the words.")] = True
    train_feed_forward: Annotated[bool, _o("Feed-forward", "What is made of it: much of texture and style.")] = True
    train_projections: Annotated[bool, _o("Projections", "Into and out of the attention blocks.")] = True
    train_norm: Annotated[bool, _o("Normalisations", "The U-Net's normalisation layers learn too.")] = False
    block_dims: Annotated[str, _o("Rank per block", _LISTS)] = ""
    block_alphas: Annotated[str, _o("Alpha per block", "One per block, as `block_lr_weight`; 0 means the rank.")] = ""
    conv_block_dims: Annotated[str, _o("Convolution rank per block", _LISTS)] = ""
    conv_block_alphas: Annotated[
        str, _o("Convolution alpha per block", "One per block, as `block_lr_weight`; 0 means the rank.")
    ] = ""
    block_lr_weight: Annotated[
        str,
        _o(
            "Rate per block",
            "all, in (composition), out (colour, texture), style, concept or face; or numbers that multiply the rate. "
            "SD1, SD2: 17 (BASE and blocks with attention), 25 (IN00-11, MID, OUT00-11) or 26 (BASE first). SDXL: 12, "
            "20 or sd-scripts' 23. 0: nothing is trained there.",
        ),
    ] = ""
    down_lr_weight: Annotated[
        str,
        _o(
            "Rate of IN blocks",
            "Numbers (12, SDXL 9), or cosine, sine, linear, reverse_linear, zeros, with an added base: `sine+0.25`.",
        ),
    ] = ""
    mid_lr_weight: Annotated[str, _o("Rate of MID block", "One number (SDXL also three).")] = ""
    up_lr_weight: Annotated[str, _o("Rate of OUT blocks", "As for the IN blocks.")] = ""
    block_lr_zero_threshold: Annotated[
        float, _o("Smallest block rate", "Blocks whose rate is not above it are not trained.", ge=0, advice=(0, 0.5))
    ] = 0.0
    loraplus_lr_ratio: Annotated[
        float,
        _o(
            "LoRA+ ratio",
            "How much faster the matrices that begin at zero learn; 4-16 usual, 0: as fast as the others.",
            ge=0,
            advice=(1, 32),
        ),
    ] = 0.0
    loraplus_unet_lr_ratio: Annotated[float, _o("LoRA+ ratio, U-Net", "0: the ratio for both.", ge=0)] = 0.0
    loraplus_text_encoder_lr_ratio: Annotated[
        float, _o("LoRA+ ratio, text encoder", "0: the ratio for both.", ge=0)
    ] = 0.0
    network_dropout: Annotated[
        float,
        _o("Dropout", "Share of neurons that sit out each step; against overfitting.", ge=0, le=0.99, advice=(0, 0.5)),
    ] = 0.0
    rank_dropout: Annotated[
        float,
        _o(
            "Rank dropout",
            "Share of ranks (of output channels for types without) that sit out.",
            ge=0,
            le=0.99,
            advice=(0, 0.3),
        ),
    ] = 0.0
    module_dropout: Annotated[
        float, _o("Module dropout", "Share of modules that sit out.", ge=0, le=0.99, advice=(0, 0.3))
    ] = 0.0
    scale_weight_norms: Annotated[
        float,
        _o(
            "Largest norm", "After each step stronger modules are scaled down; 1 usual, 0: off.", ge=0, advice=(0.5, 10)
        ),
    ] = 0.0
