"""The stand-alone page on a small checkpoint; with `--headless --out DIR` the same training without a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lib_lora_train.errors import TrainLoraError
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.recipe import dumps

from . import pictures, tiny

HERE = Path(__file__).parent
RECIPE = {
    "output_name": "blob",
    "trigger_word": "blob",
    "resolution": "128",
    "min_bucket_reso": 64,
    "max_bucket_reso": 256,
    "max_token_length": 75,
    "network_dim": 8,
    "network_alpha": 8,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "learning_rate": 1e-3,
    "max_train_steps": 60,
    "save_every_n_steps": 30,
    "sample_every_n_steps": 30,
    "sample_steps": 8,
    "sample_prompts": "blob, red eyes, white background",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__)
    parser.add_argument("--headless", action="store_true", help="train without a page; needs --out")
    parser.add_argument("--out", type=Path, default=HERE / "out", help="folder for LoRA, runs and cache")
    parser.add_argument("--port", type=int, default=7869)
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    args = parser.parse_args()
    out = args.out.resolve()
    checkpoint = tiny.make(out / "checkpoint")
    recipe = from_mapping({**RECIPE, "train_data_dir": str(pictures.make(out / "pictures"))})
    if args.headless:
        from lib_lora_train.app.cli import main as train

        path = out / "recipe.toml"
        path.write_text(dumps(recipe), encoding="utf-8")
        return train(["train", str(path), "--checkpoint", str(checkpoint), "--out", str(out), "--overwrite", "--json"])

    from lib_lora_train.hosts.standalone import StandaloneHost
    from lib_lora_train.ui.standalone import serve

    host = StandaloneHost(checkpoint, lora_dir=out / "lora", data_dir=out / "train-lora")
    try:
        serve(host, port=args.port, open_browser=not args.no_browser, defaults=recipe)
    except TrainLoraError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
