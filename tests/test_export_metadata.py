"""Metadata: what sd-scripts would have written for the same run, and nothing that is private."""

from __future__ import annotations

import datetime
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.data.types import Fit, ImageRecord
from lib_lora_train.export import dataset, metadata
from lib_lora_train.export.metadata import RunFacts
from lib_lora_train.families.loan import Identity
from lib_lora_train.settings.load import from_mapping

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
RUNS = {r["name"]: r for r in json.loads((GOLDEN / "07_training_runs.json").read_text(encoding="utf-8"))["runs"]}
MODELSPEC = json.loads((GOLDEN / "07_format.json").read_text(encoding="utf-8"))["modelspec"]["cases"]

COMMON = {
    "output_name": "my_lora", "resolution": "128", "min_bucket_reso": 64, "max_bucket_reso": 256, "seed": 42,
    "network_dim": 2, "network_alpha": 1, "optimizer_type": "AdamW", "mixed_precision": "no",
}  # fmt: skip
# what an absent option means to sd-scripts
DEFAULTS = {
    "learning_rate": 2e-6, "unet_lr": 0, "text_encoder_lr": 0, "lr_scheduler": "constant", "min_snr_gamma": 0,
    "max_token_length": 75,
}  # fmt: skip
MANY = {
    "train_batch_size": 2, "min_snr_gamma": 5, "noise_offset": 0.05, "shuffle_caption": True, "keep_tokens": 1,
    "clip_skip": 2, "max_token_length": 150, "lr_scheduler": "cosine", "lr_warmup_steps": 0.1, "learning_rate": 1e-4,
    "unet_lr": 1e-4, "text_encoder_lr": 5e-5, "network_type": "LoCon", "conv_dim": 2, "conv_alpha": 1,
    "training_comment": "hello", "trigger_word": "sks cat", "caption_tag_dropout_rate": 0.1, "prior_loss_weight": 0.5,
    "flip_aug": True, "optimizer_args": "weight_decay=0.01 betas=.9,.99", "max_grad_norm": 0,
}  # fmt: skip

# Not ours to write: another program's version, features that we do not have and that nobody reads.
NOT_WRITTEN = {
    "ss_sd_scripts_commit_hash", "ss_num_validation_images", "ss_validation_seed", "ss_validation_split",
    "ss_max_validation_steps", "ss_validate_every_n_epochs", "ss_validate_every_n_steps", "ss_resize_interpolation",
    "ss_huber_schedule", "ss_huber_scale", "ss_huber_c", "ss_noise_offset_random_strength",
    "ss_ip_noise_gamma_random_strength", "sshs_model_hash", "sshs_legacy_hash",
}  # fmt: skip
# Of one run only, told more exactly (CLIP skip as used), or of options that we do not have.
DIFFERENT = {
    "defaults": {"ss_clip_skip", "modelspec.implementation_version"},
    "many_options": {
        "modelspec.implementation_version", "modelspec.title", "modelspec.author", "modelspec.description",
        "modelspec.license", "modelspec.tags", "modelspec.timestep_range", "ss_multires_noise_iterations",
        "ss_scale_weight_norms", "ss_ip_noise_gamma", "ss_network_dropout", "ss_adaptive_noise_scale",
        "ss_network_args",
    },
}  # fmt: skip


def _data(tree: dict, reg: bool) -> dataset.DataFacts:
    """The golden picture tree as records; buckets as the reference chose them for these sizes."""
    buckets = {(128, 128): (128, 128), (200, 120): (128, 128), (120, 200): (64, 192), (100, 180): (64, 192)}
    records, uses = [], []
    for name, files in sorted(tree.items()):
        root, _, concept = name.partition("/")
        if not concept.split("_")[0].isdigit() or (root == "reg" and not reg):
            continue
        repeats, _, caption = concept.partition("_")
        for file, size in files.items():
            if file.endswith(".png"):
                text = files.get(file.replace(".png", ".txt"), caption)
                path = Path("/home/alice/pictures") / name / file
                records.append(ImageRecord(path, tuple(size), text, int(repeats), root == "reg"))
                uses.append(5 if root == "reg" else int(repeats))  # two pictures fill up to ten
    fits = [Fit(buckets[r.size], r.size, (0, 0)) for r in records]
    return dataset.describe(records, fits, uses)


def _built(name: str) -> tuple[dict[str, str], dict[str, str]]:
    golden = RUNS[name]["files"]["my_lora.safetensors"]["metadata"]
    many = name == "many_options"
    settings = from_mapping({**COMMON, **(MANY if many else DEFAULTS)})
    facts = RunFacts(
        identity=Identity(
            "tiny_base_model.safetensors [8fded0cd13]",
            "C:\\Users\\alice\\models\\tiny_base_model.safetensors",
            golden["ss_new_sd_model_hash"],
            golden["ss_sd_model_hash"],
        ),
        clip_skip=2 if many else 1,
        optimizer_args={"weight_decay": 0.01, "betas": (0.9, 0.99)} if many else {},
        steps=int(golden["ss_steps"]),
        total_steps=int(golden["ss_max_train_steps"]),
        epoch=int(golden["ss_epoch"]),
        num_epochs=int(golden["ss_num_epochs"]),
        num_batches_per_epoch=int(golden["ss_num_batches_per_epoch"]),
        session_id=int(golden["ss_session_id"]),
        started_at=float(golden["ss_training_started_at"]),
        finished_at=float(golden["ss_training_finished_at"]),
        data=_data(RUNS[name]["tree"], many),
    )
    return metadata.build(settings, facts), golden


def _comparable(values: dict[str, str]) -> dict:
    shown = {}
    for name, text in values.items():
        value = json.loads(text) if text.startswith("{") else text
        if name == "ss_bucket_info":
            value["mean_img_ar_error"] = round(value["mean_img_ar_error"], 12)
        shown[name] = value
    return shown


@pytest.mark.golden
@pytest.mark.parametrize("name", DIFFERENT)
def test_a_run_is_described_as_sd_scripts_describes_it(name, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    ours, golden = _built(name)
    left_out = NOT_WRITTEN | DIFFERENT[name]
    expected = _comparable({k: v for k, v in golden.items() if k not in left_out})
    assert _comparable({k: v for k, v in ours.items() if k in expected}) == expected
    # what the reference does not have is ours, or tells the CLIP skip
    extra = set(ours) - set(golden) - {metadata.RECIPE_KEY, metadata.FOLDERS_KEY}
    assert extra <= {"modelspec.encoder_layer"}
    assert all(isinstance(value, str) for value in ours.values())


@pytest.mark.golden
def test_conv_ranks_are_network_arguments_with_a_dropout():
    ours, golden = _built("many_options")
    reference = json.loads(golden["ss_network_args"])
    own = json.loads(ours["ss_network_args"])
    assert own.keys() == reference.keys()
    assert {k: float(v) for k, v in own.items() if v is not None} == {"conv_dim": 2, "conv_alpha": 1}
    assert "ss_network_args" not in _built("defaults")[0]


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", [c for c in MODELSPEC if c["arguments"]["lora"] and not set(c["arguments"]) - {
        "v2", "v_parameterization", "sdxl", "lora", "textual_inversion", "title", "reso", "clip_skip"}]
)  # fmt: skip
def test_modelspec_of_every_family(case, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    given_, expected = case["arguments"], case["result"]
    family = "SDXL" if given_["sdxl"] else "SD2" if given_["v2"] else "SD1"
    facts = RunFacts(
        Identity("x"),
        family,
        "v_prediction" if given_["v_parameterization"] else "epsilon",
        clip_skip=given_.get("clip_skip", 1),
        finished_at=case["timestamp"],
    )
    settings = from_mapping({"resolution": expected["modelspec.resolution"]})
    ours = {k: v for k, v in metadata.build(settings, facts).items() if k.startswith("modelspec.")}
    unlike = {"modelspec.title", "modelspec.implementation_version", "modelspec.encoder_layer"}
    assert {k: v for k, v in ours.items() if k not in unlike} == {k: v for k, v in expected.items() if k not in unlike}
    if "modelspec.encoder_layer" in expected:
        assert ours["modelspec.encoder_layer"] == expected["modelspec.encoder_layer"]


@pytest.mark.golden
@pytest.mark.parametrize("family, prediction, key", [
    ("SD1", "epsilon", "v2=False, v_parameterization=False"),
    ("SD1", "v_prediction", "v2=False, v_parameterization=True"),
    ("SD2", "epsilon", "v2=True, v_parameterization=False"),
    ("SD2", "v_prediction", "v2=True, v_parameterization=True"),
    ("SDXL", "epsilon", "sdxl"),
])  # fmt: skip
def test_version_strings_that_the_card_is_chosen_by(family, prediction, key):
    versions = json.loads((GOLDEN / "07_format.json").read_text(encoding="utf-8"))["model_version_strings"]
    built = metadata.build(from_mapping({}), RunFacts(Identity("x"), family, prediction))
    assert built["ss_base_model_version"] == versions[key]
    assert built["ss_v2"] == str(family == "SD2")


def test_name_and_alias_are_one():
    built = metadata.build(from_mapping({"output_name": "🐈 v1.5"}), RunFacts(Identity("x")))
    assert built["ss_output_name"] == built["modelspec.title"] == "🐈 v1.5"
    assert metadata.named("other").keys() <= built.keys()


PRIVATE = ["/home/alice/pictures/cat", "C:\\Users\\alice\\pictures\\cat", "\\\\nas\\alice\\pictures\\cat"]


@pytest.mark.parametrize("folder", PRIVATE)
def test_no_path_and_no_user_in_the_file(folder):
    settings = from_mapping({"train_data_dir": folder, "reg_data_dir": folder, "network_weights": folder})
    built = metadata.build(settings, RunFacts(Identity(folder + "/x.ckpt [abcd]", vae=folder + "/v.pt")))
    assert "alice" not in json.dumps(built) and "pictures" not in json.dumps(built)
    assert built["ss_sd_model_name"] == "x.ckpt" and built["ss_vae_name"] == "v.pt"
    assert json.loads(built[metadata.FOLDERS_KEY]) == dict.fromkeys(metadata.PATH_FIELDS, "cat")


def test_the_home_folder_itself_names_nobody(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/alice"))
    records = [ImageRecord(Path("/home/alice/a.png"), (64, 64), "cat", 1)]
    facts = dataset.describe(records, [Fit((64, 64), (64, 64), (0, 0))])
    settings = from_mapping({"train_data_dir": "/home/alice"})
    built = metadata.build(settings, replace(RunFacts(Identity("x")), data=facts))
    assert "alice" not in json.dumps(built)
    assert json.loads(built["ss_dataset_dirs"]) == {"pictures": {"n_repeats": 1, "img_count": 1}}


def test_parts_that_are_not_trained_have_rate_zero():
    built = metadata.build(from_mapping({"train_text_encoder": False, "unet_lr": 0}), RunFacts(Identity("x")))
    assert (built["ss_text_encoder_lr"], built["ss_unet_lr"]) == ("0.0", "None")


def test_the_optimiser_is_the_one_that_was_used():
    facts = replace(RunFacts(Identity("x")), optimizer="AdamW", optimizer_args={"weight_decay": 0.1})
    built = metadata.build(from_mapping({"optimizer_type": "AdamW8bit"}), facts)
    assert built["ss_optimizer"] == "torch.optim.adamw.AdamW(weight_decay=0.1)"


@patient
@given(st.text(), st.text(), st.floats(0, 4e9))
def test_any_words_make_strings(comment, trigger, when):
    settings = from_mapping({"training_comment": comment, "trigger_word": trigger})
    built = metadata.build(settings, replace(RunFacts(Identity("x")), finished_at=when))
    assert all(isinstance(value, str) for value in built.values())
    datetime.datetime.fromisoformat(built["modelspec.date"])
