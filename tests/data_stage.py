"""What the data room's tests play on: pictures, a real (tiny) VAE, a text encoder of letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from lib_lora_train.data.buckets import fits
from lib_lora_train.data.loader import Loader, prepare
from lib_lora_train.data.plan import Plan
from lib_lora_train.data.scan import scan
from lib_lora_train.events import Warned
from lib_lora_train.families.loan import Conditioning, Identity, Loan
from lib_lora_train.settings.load import from_mapping

SIZES = [(64, 64), (96, 48), (48, 96), (71, 64), (64, 64), (128, 64)]


class Letters:
    """Conditioning from an embedding of letters; counts what it encodes."""

    name, latent_channels, latent_factor = "SD1", 4, 8

    def __init__(self):
        self.encoded = []

    def encode_text(self, loan, captions, max_token_length, clip_skip, dtype=torch.float32, weighted=False):
        self.encoded += captions
        ids = torch.tensor([[ord(c) % 50 for c in f"{caption:8.8}"] for caption in captions])
        context = loan.text_encoders[0](ids) * clip_skip * (2 if weighted else 1)
        return Conditioning(context, context.mean(1))


def make_vae(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4,
        ).eval().requires_grad_(False)  # fmt: skip


def make_loan(vae=None):
    text = torch.nn.Embedding.from_pretrained(torch.randn(50, 6, generator=torch.Generator().manual_seed(0)))
    return Loan(
        Letters(), torch.nn.Linear(1, 1), [text], [], vae or make_vae(), torch.ones(10), "epsilon", False, 0.5, 1,
        Identity("tiny"), torch.device("cpu"),
    )  # fmt: skip


def make_folder(root):
    """A concept folder of noise pictures with captions."""
    folder = root / "pictures" / "2_dog"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, (w, h) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"sks, tag{i}, more")
    return folder


def settings_of(folder, **changes):
    base = {
        "train_data_dir": str(folder.parent), "resolution": "64", "min_bucket_reso": 32, "max_bucket_reso": 128,
        "bucket_reso_steps": 32, "train_batch_size": 2, "seed": 7,
    }  # fmt: skip
    return from_mapping({**base, **changes})


def plan_of(settings):
    found = scan(settings.data, settings.captions, "sks")
    training = settings.training
    return Plan(found.records, fits(found.records, settings.data), training.train_batch_size, training.seed)


def drain(generator):
    """(events, result) of a generator."""
    events = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as end:
            return events, end.value


def ready(loan, settings, cache, plan=None):
    return drain(prepare(loan, plan or plan_of(settings), settings, cache))


def batches(loan, settings, cache, plan, epoch=0, start=0, **more):
    return list(Loader(plan, settings, cache, loan, **more).batches(epoch, start))


def warnings(events):
    return [event.text for event in events if isinstance(event, Warned)]


class Counting(torch.nn.Module):
    """A VAE that tells how many pictures it encoded."""

    def __init__(self, vae):
        super().__init__()
        self.vae, self.count = vae, 0

    def encode(self, pictures):
        self.count += len(pictures)
        return self.vae.encode(pictures)

    def state_dict(self, *args, **kwargs):
        return self.vae.state_dict(*args, **kwargs)


def entries(cache_folder):
    return sorted(Path(cache_folder).rglob("*.cache"))


def spoil(path):
    """Damage in the middle that leaves header and end as they were."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = b"\xff" * 64
    path.write_bytes(data)
