"""The stand-alone page on the demo's checkpoint; with `--headless --out DIR` the same training without a page."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from lib_lora_train.errors import TrainLoraError
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.schema import Settings

HERE = Path(__file__).parent
CHECKPOINT = HERE / "demo-sd1.safetensors"
RECIPE = {
    "output_name": "pib",
    "trigger_word": "pib",
    "train_data_dir": str(HERE / "data"),
    "resolution": "128",
    "min_bucket_reso": 64,
    "max_bucket_reso": 256,
    "max_token_length": 75,
    "network_type": "LoCon",
    "network_dim": 16,
    "network_alpha": 16,
    "conv_dim": 16,
    "conv_alpha": 16,
    "optimizer_type": "AdamW",
    "learning_rate": 2e-3,
    "text_encoder_lr": 2e-3,
    "lr_scheduler": "cosine",
    "max_train_steps": 800,
    "train_batch_size": 4,
    "min_snr_gamma": 0,
    "noise_offset": 0.15,
    "noise_offset_random_strength": True,
    "multires_noise_iterations": 0,
    "save_every_n_steps": 400,
    "sample_every_n_steps": 400,
    "sample_steps": 15,
    "sample_cfg": 1.5,
    "sample_prompts": "pib, large, center, green background\nred circle, large, center, white background",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__)
    parser.add_argument("--headless", action="store_true", help="train without a page; needs --out")
    parser.add_argument("--out", type=Path, default=HERE / "out", help="folder for LoRA, runs and cache")
    parser.add_argument("--port", type=int, default=7869)
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    args = parser.parse_args()
    out = args.out.resolve()
    torch.set_num_threads(1)  # layers this small wait for one another: a step took 0.34 s on one core, 0.83 s on two
    host = StandaloneHost(CHECKPOINT, lora_dir=out if args.headless else out / "lora", data_dir=out / "train-lora")
    recipe = from_mapping(RECIPE)
    try:
        return headless(host, recipe) if args.headless else page(host, recipe, args.port, not args.no_browser)
    except TrainLoraError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2


def page(host: StandaloneHost, recipe: Settings, port: int, open_browser: bool) -> int:
    from lib_lora_train.ui.standalone import serve

    serve(host, port=port, open_browser=open_browser, defaults=recipe)
    return 0


def headless(host: StandaloneHost, recipe: Settings) -> int:
    """Trains with a progress bar; one line of JSON last, with the held-out pictures' loss before and after."""
    from lib_lora_train.app.jobs import JobRunner
    from lib_lora_train.app.terminal import follow

    from .make_trial import losses

    runner = JobRunner(host)
    runner.start(recipe, confirm_overwrite=True)
    outcome = follow(runner.job, host.lora_dir())
    lora = outcome.report["lora"]
    print(json.dumps({**outcome.report, **(losses(host, Path(lora)) if lora else {})}), flush=True)
    return 0 if outcome.state == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
