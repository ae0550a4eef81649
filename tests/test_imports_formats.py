"""Each program's files as it writes them: what is carried over, translated, or listed with the reason."""

from __future__ import annotations

import json

import pytest

from lib_lora_train.settings import imports
from lib_lora_train.settings.load import from_mapping

LINUX = r"""#!/bin/bash
# my cats
DIM=16
accelerate launch --num_cpu_threads_per_process=2 ./sd-scripts/train_network.py \
  --pretrained_model_name_or_path="/models/base model.safetensors" \
  --train_data_dir '/data/my cats' --output_name="my cat" \
  --network_module=networks.lora --network_dim=$DIM --network_alpha ${DIM} \
  --network_args conv_dim=8 conv_alpha=4 "dropout=0.1" \
  --optimizer_type Prodigy --optimizer_args "d_coef=0.5" 'betas=0.9,0.99' weight_decay=0.02 \
  --resolution=512,768 --learning_rate=1 --unet_lr 1.0 --text_encoder_lr=1 --max_train_epochs 7 \
  --min_snr_gamma=5 --clip_skip 0 --xformers --shuffle_caption --adaptive_noise_scale -0.05 --noise_offset=0.1
echo done
"""
WINDOWS = r"""@echo off
set NAME=cat
accelerate launch --mixed_precision fp16 "C:\sd\sdxl_train_network.py" ^
 --train_data_dir="C:\my cats\" --output_name=%NAME% --network_module=networks.lora ^
 --network_train_unet_only --lr_warmup_steps 10%% --lr_scheduler cosine && pause
"""
POWERSHELL = r"""$lr = "2e-4"
$Env:HF_HOME = "huggingface"
python -m accelerate.commands.launch "./scripts/train_network.py" `
  --learning_rate=$lr --network_module=lycoris.kohya --network_dim=8 --network_args algo=loha conv_dim=4
"""


def settings(name, text, **more):
    found = imports.read(name, text, **more)
    from_mapping(found.settings)
    return found


def holds(found, **expected):
    assert {name: found.settings.get(name) for name in expected} == expected


def test_a_shell_script():
    found = settings("train.sh", LINUX, folders=True)
    holds(found, output_name="my cat", train_data_dir="/data/my cats", network_dim=16, network_alpha=16.0,
          network_type="LoCon", conv_dim=8, conv_alpha=4.0, network_dropout=0.1, optimizer_type="Prodigy",
          resolution="512x768", learning_rate=1.0, unet_lr=1.0, text_encoder_lr=1.0, max_train_epochs=7, clip_skip=1,
          shuffle_caption=True, noise_offset=0.1, adaptive_noise_scale=-0.05, lr_scheduler="constant",
          mixed_precision="no", max_token_length=75, enable_bucket=False)  # fmt: skip
    # the library's defaults stay where nothing is said, since ours for Prodigy are others
    assert "d_coef=0.5" in found.settings["optimizer_args"] and "weight_decay=0.02" in found.settings["optimizer_args"]
    assert "use_bias_correction=False" in found.settings["optimizer_args"]
    assert any(line.startswith("pretrained_model_name_or_path") for line in found.not_carried)
    assert any(line.startswith("xformers = True: ") for line in found.not_carried)
    assert "clip_skip = 0: clip_skip = 1" in found.translated


def test_a_batch_file():
    found = settings("train.bat", WINDOWS, folders=True)
    holds(found, output_name="cat", train_data_dir="C:\\my cats\\", train_text_encoder=False, train_unet=True,
          lr_scheduler="cosine")  # fmt: skip


def test_powershell():
    found = settings("train.ps1", POWERSHELL)
    holds(found, learning_rate=2e-4, network_type="LoHa", conv_dim=4, conv_alpha=1.0, network_dim=8)


def test_options_alone_and_other_scripts():
    holds(settings("x", "--network_module=networks.lora --network_dim=12"), network_dim=12)
    found = settings("x", "python flux_train_network.py --network_module=networks.lora_flux --network_dim=12")
    assert {"script", "network_module"} <= {line.split(" = ")[0] for line in found.not_carried}


def test_a_config_file_of_sd_scripts():
    text = """
[model]
pretrained_model_name_or_path = "x.safetensors"
v_parameterization = true
zero_terminal_snr = true
[training]
network_module = "lycoris.kohya"
network_dim = 8
network_alpha = 4
network_args = ["algo=lokr", "factor=8", "conv_dim=6", "conv_alpha=2", "dropout=0.2", "preset=attn-mlp"]
optimizer_type = "AdamW8bit"
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
text_encoder_lr = [0.0, 0.0]
unet_lr = 0.0002
max_train_steps = 1200
resolution = "768,768"
caption_dropout_rate = 0.05
alpha_mask = true
base_weights = ["a.safetensors"]
sample_prompts = "/somewhere/prompts.txt"
"""
    found = settings("config.toml", text)
    holds(found, v_parameterization="yes", zero_terminal_snr="yes", network_type="LoKr", factor=8, conv_dim=6,
          conv_alpha=2.0, network_dropout=0.2, optimizer_type="AdamW8bit", train_text_encoder=False, unet_lr=2e-4,
          optimizer_args="weight_decay=0.1 betas=0.9,0.99", max_train_steps=1200, resolution="768",
          caption_dropout_rate=0.05, network_preset="attn-mlp")  # fmt: skip
    lost = {line.split(" = ")[0] for line in found.not_carried}
    assert {"base_weights", "pretrained_model_name_or_path", "sample_prompts"} <= lost


DATASET = """
[general]
shuffle_caption = true
caption_extension = ".txt"
keep_tokens = 1

[[datasets]]
resolution = [512, 640]
batch_size = 4
keep_tokens = 2
enable_bucket = true

  [[datasets.subsets]]
  image_dir = "/data/cats"
  num_repeats = 10
  class_tokens = "sks cat"
  flip_aug = true

  [[datasets.subsets]]
  image_dir = "/data/reg"
  is_reg = true
"""


def test_a_data_set_configuration():
    found = settings("data.toml", DATASET, folders=True)
    holds(found, shuffle_caption=True, keep_tokens=2, resolution="512x640", train_batch_size=4, dataset_repeats=10,
          flip_aug=True, train_data_dir="/data/cats", reg_data_dir="/data/reg", enable_bucket=True)  # fmt: skip
    assert not {"network_dim", "learning_rate", "max_train_steps"} & set(found.settings)  # it says nothing of those
    assert any(line.startswith("class_tokens = sks cat: name the folder") for line in found.not_carried)
    strange = settings("data.toml", DATASET)
    assert "train_data_dir" not in strange.settings
    assert any(line.startswith("train_data_dir = /data/cats") for line in strange.not_carried)


KOHYA = {
    "LoRA_type": "LyCORIS/LoHa", "LyCORIS_preset": "full", "additional_parameters": "--huber_c=0.2",
    "bypass_mode": False, "adaptive_noise_scale": 0.02, "bucket_no_upscale": True, "cache_latents": True,
    "caption_extension": ".txt", "clip_skip": "2", "conv_alpha": 1, "conv_dim": 4, "dora_wd": False, "epoch": 12,
    "enable_bucket": True, "sample_prompts": "# mine\na cat --w 512 --n bad\na dog", "sample_sampler": "euler_a",
    "factor": -1, "flux1_checkbox": False, "gradient_accumulation_steps": 2.0, "gpu_ids": "", "keep_tokens": "1",
    "learning_rate": 0.0001, "loss_type": "huber", "lr_scheduler": "cosine", "lr_scheduler_num_cycles": "",
    "lr_warmup": 10, "lr_warmup_steps": 0, "max_resolution": "512,512", "max_timestep": 1000, "max_token_length": "75",
    "max_train_epochs": "", "max_train_steps": "", "min_snr_gamma": 5, "mixed_precision": "bf16", "module_dropout": 0.1,
    "multires_noise_discount": 0.3, "multires_noise_iterations": 6, "network_alpha": 8, "network_dim": 16,
    "network_dropout": 0, "noise_offset": 0.05, "noise_offset_type": "Multires", "optimizer": "Lion",
    "optimizer_args": "weight_decay=0.01 betas=0.9,0.95", "output_name": "cat", "pretrained_model_name_or_path": "base",
    "rank_dropout": 0, "sdxl": False, "seed": "", "stop_text_encoder_training": 30, "t5xxl": "", "text_encoder_lr": 0,
    "train_batch_size": 3, "train_data_dir": "D:/cats", "unet_lr": 0.0002, "use_tucker": False, "v2": False,
    "vae": "None", "vae_batch_size": 0, "wandb_api_key": "", "xformers": "xformers", "save_precision": "fp16",
}  # fmt: skip


def test_a_configuration_of_kohya_ss():
    found = settings("cat.json", json.dumps(KOHYA, indent=2))
    assert found.source == "kohya_ss"
    holds(found, network_type="LoHa", network_dim=16, network_alpha=8.0, conv_dim=4, module_dropout=0.1, huber_c=0.2,
          max_train_epochs=12, lr_warmup_steps=0.1, clip_skip=2, max_token_length=75, optimizer_type="Lion",
          train_text_encoder=False, train_unet=True, multires_noise_iterations=6, noise_offset=0.0, keep_tokens=1,
          adaptive_noise_scale=0.0, loss_type="huber", gradient_accumulation_steps=2, unet_lr=2e-4, seed=42,
          min_snr_gamma=5.0, mixed_precision="bf16", output_name="cat", resolution="512",
          sample_prompts="a cat --w 512 --n bad\na dog")  # fmt: skip
    lost = {line.split(" = ")[0] for line in found.not_carried}
    assert {"stop_text_encoder_training", "train_data_dir", "pretrained_model_name_or_path"} <= lost
    assert not any(name.startswith(("flux", "t5", "sd3")) for name in lost)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("Standard", {"network_type": "LoRA"}),
        ("Kohya LoCon", {"network_type": "LoCon", "conv_dim": 4}),
        ("Kohya DyLoRA", {"network_type": "DyLoRA"}),
        ("LyCORIS/LoCon", {"network_type": "LoCon", "conv_dim": 4}),
        ("LyCORIS/LoKr", {"network_type": "LoKr"}),
        ("LyCORIS/iA3", {"network_type": "IA3"}),
        ("LyCORIS/DyLoRA", {"network_type": "DyLoRA"}),
    ],
)
def test_every_type_of_kohya_ss(kind, expected):
    holds(settings("cat.json", json.dumps({**KOHYA, "LoRA_type": kind})), **expected)


EASY = """
[[subsets]]
num_repeats = 5
keep_tokens = 1
caption_extension = ".txt"
shuffle_caption = true
image_dir = "/data/cats"

[train_mode]
train_mode = "lora"

[general_args.args]
max_data_loader_n_workers = 1
pretrained_model_name_or_path = "base.safetensors"
mixed_precision = "fp16"
gradient_checkpointing = true
seed = 23
max_token_length = 225
clip_skip = 2
max_train_epochs = 8

[general_args.dataset_args]
resolution = 768
batch_size = 2

[network_args.args]
network_dim = 32
network_alpha = 16.0
max_timestep = 900

[network_args.args.network_args]
conv_dim = 8
conv_alpha = 4.0
algo = "lokr"
dropout = 0.1

[optimizer_args.args]
optimizer_type = "AdamW8bit"
lr_scheduler = "cosine"
learning_rate = 0.0001
warmup_ratio = 0.05
min_snr_gamma = 5
lr_scheduler_type = "LoraEasyCustomOptimizer.Rex"

[optimizer_args.args.optimizer_args]
weight_decay = "0.1"
betas = "0.9,0.99"

[bucket_args.dataset_args]
enable_bucket = true
min_bucket_reso = 256
max_bucket_reso = 1024
bucket_reso_steps = 64

[saving_args.args]
save_precision = "fp16"
save_every_n_epochs = 2
output_name = "cat"
tag_occurrence = true

[noise_args.args]
noise_offset = "0.05"
"""


def _easy():
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads(EASY)


@pytest.mark.parametrize("as_json", [False, True])
def test_easy_training_scripts(as_json):
    found = settings("cat", json.dumps(_easy()) if as_json else EASY)
    assert found.source == "Easy Training Scripts"
    holds(found, dataset_repeats=5, keep_tokens=1, shuffle_caption=True, seed=23, max_train_epochs=8, clip_skip=2,
          resolution="768", train_batch_size=2, network_type="LoKr", network_dim=32, conv_dim=8, conv_alpha=4.0,
          network_dropout=0.1, max_timestep=900, optimizer_type="AdamW8bit", lr_scheduler="cosine",
          optimizer_args="weight_decay=0.1 betas=0.9,0.99", lr_warmup_steps=0.05, min_snr_gamma=5.0, noise_offset=0.05,
          save_every_n_epochs=2, enable_bucket=True, output_name="cat", max_token_length=225)  # fmt: skip
    lost = {line.split(" = ")[0] for line in found.not_carried}
    assert {"lr_scheduler_type", "train_data_dir"} <= lost and "tag_occurrence" not in lost


def test_easy_training_scripts_of_the_first_versions():
    old = {"base_model": "b", "img_folder": "/c", "net_dim": 16, "alpha": 8, "scheduler": "cosine", "num_epochs": 3,
           "batch_size": 2, "train_resolution": 512, "learning_rate": 1e-4, "text_encoder_lr": None, "unet_lr": None,
           "warmup_lr_ratio": 0.1, "clip_skip": 1, "change_output_name": "x", "keep_tokens": None,
           "optimizer_type": "AdamW8bit", "optimizer_args": {"weight_decay": "0.1"}}  # fmt: skip
    found = settings("old.json", json.dumps(old))
    assert found.source == "Easy Training Scripts"
    holds(found, network_dim=16, network_alpha=8.0, lr_scheduler="cosine", max_train_epochs=3, train_batch_size=2,
          resolution="512", lr_warmup_steps=0.1, output_name="x", optimizer_args="weight_decay=0.1")  # fmt: skip


def test_onetrainer():
    given = {"__version": 6, "training_method": "LORA", "learning_rate": 3e-4, "epochs": 20, "batch_size": 2,
             "lora_rank": 8, "lora_alpha": 4.0, "resolution": "512", "learning_rate_scheduler": "COSINE",
             "optimizer": {"optimizer": "ADAMW_8BIT", "weight_decay": 0.05, "beta1": 0.8}, "loss_weight_strength": 4.0,
             "text_encoder": {"train": False, "learning_rate": None}, "unet": {"train": True, "learning_rate": 2e-4},
             "loss_weight_fn": "MIN_SNR_GAMMA", "train_dtype": "BFLOAT_16", "ema": "GPU"}  # fmt: skip
    found = settings("x.json", json.dumps(given))
    assert found.source == "OneTrainer"
    holds(found, network_dim=8, network_alpha=4.0, max_train_epochs=20, optimizer_type="AdamW8bit", unet_lr=2e-4,
          train_text_encoder=False, min_snr_gamma=4.0, mixed_precision="bf16", lr_scheduler="cosine")  # fmt: skip
    assert {"optimizer beta1", "ema"} <= {line.split(" = ")[0] for line in found.not_carried}
