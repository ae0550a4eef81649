"""Metadata: what sd-scripts would have written for the same run, and nothing that is private."""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import replace
from pathlib import Path

import golden_data
import golden_runs
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.data import buckets
from lib_lora_train.data.plan import Plan, length
from lib_lora_train.data.scan import scan
from lib_lora_train.data.types import Fit, ImageRecord
from lib_lora_train.export import dataset, metadata
from lib_lora_train.export.metadata import RunFacts
from lib_lora_train.families.loan import Identity
from lib_lora_train.settings.load import from_mapping

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy

MODELSPEC = golden_data.facts("07_format")["modelspec"]["cases"]

# Not ours to write: another program's version, features that we do not have and that nobody reads.
NOT_WRITTEN = {
    "ss_sd_scripts_commit_hash", "ss_num_validation_images", "ss_validation_seed", "ss_validation_split",
    "ss_max_validation_steps", "ss_validate_every_n_epochs", "ss_validate_every_n_steps", "ss_resize_interpolation",
    "ss_huber_schedule", "ss_huber_scale", "ss_huber_c", "ss_noise_offset_random_strength",
    "ss_ip_noise_gamma_random_strength", "sshs_model_hash", "sshs_legacy_hash",
}  # fmt: skip
# Told more exactly (CLIP skip as used), or by another test below (optimiser, network arguments).
OTHERWISE = {"ss_clip_skip", "modelspec.implementation_version", "ss_optimizer", "ss_network_args", "ss_network_module"}
# Of runs with an option that a recipe does not have, or that lack one which it always has: what we write otherwise.
BY_OPTION = {
    "--metadata_title": {"modelspec.title"},
    "--metadata_author": {"modelspec.author"},
    "--metadata_description": {"modelspec.description"},
    "--metadata_license": {"modelspec.license"},
    "--metadata_tags": {"modelspec.tags"},
    "--network_train_unet_only": {"ss_text_encoder_lr"},  # ours says 0: not trained
    "--network_train_text_encoder_only": {"ss_unet_lr"},
}
WITHOUT = {"--output_name": {"ss_output_name", "modelspec.title"}}
ADAFACTOR = {"ss_lr_scheduler", "ss_learning_rate", "ss_unet_lr", "ss_text_encoder_lr"}  # rewritten by the reference


def _otherwise(run: dict) -> set[str]:
    options = run["command_line_options"]
    names = {name for option, names in BY_OPTION.items() if option in options for name in names}
    names |= {name for option, names in WITHOUT.items() if option not in options for name in names}
    adafactor = golden_runs.metadata(run)["ss_lr_scheduler"].startswith("adafactor")
    return NOT_WRITTEN | OTHERWISE | names | (ADAFACTOR if adafactor else set())


RUNS = golden_runs.runs()


def _built(run: dict, root: Path) -> dict[str, str]:
    """What we write of the same run."""
    golden, settings = golden_runs.metadata(run), golden_runs.settings(run, root)
    records = scan(settings.data, settings.captions, settings.naming.trigger_word).records
    fits = buckets.fits(records, settings.data)
    plan = Plan(records, fits, settings.training.train_batch_size, 0)
    steps = length(plan.batches_per_epoch, settings.training)
    facts = RunFacts(
        identity=Identity(
            "tiny_base_model.safetensors [8fded0cd13]",
            "C:\\Users\\alice\\models\\tiny_base_model.safetensors",
            golden["ss_new_sd_model_hash"],
            golden["ss_sd_model_hash"],
        ),
        family="SD2" if "--v2" in run["command_line_options"] else "SD1",
        prediction="v_prediction" if settings.loss.v_parameterization == "yes" else "epsilon",
        zero_terminal_snr=settings.loss.zero_terminal_snr == "yes",
        clip_skip=settings.training.clip_skip,
        mixed_precision=settings.training.mixed_precision,
        steps=int(golden["ss_steps"]),
        total_steps=steps.steps,
        epoch=int(golden["ss_epoch"]),
        num_epochs=steps.epochs,
        num_batches_per_epoch=plan.batches_per_epoch,
        session_id=int(golden["ss_session_id"]),
        started_at=float(golden["ss_training_started_at"]),
        finished_at=float(golden["ss_training_finished_at"]),
        data=dataset.describe(records, fits, plan.uses),
    )
    return metadata.build(settings, facts)


def _comparable(values: dict[str, str]) -> dict:
    shown = {}
    for name, text in values.items():
        value = json.loads(text) if text.startswith("{") else text
        if name == "ss_bucket_info":
            value["mean_img_ar_error"] = round(value["mean_img_ar_error"], 12)
        shown[name] = value
    return shown


@pytest.mark.golden
@pytest.mark.parametrize("run", RUNS, ids=golden_runs.name)
def test_a_run_is_described_as_sd_scripts_describes_it(run, monkeypatch, tmp_path):
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    ours, golden = _built(run, tmp_path), golden_runs.metadata(run)
    expected = _comparable({k: v for k, v in golden.items() if k not in _otherwise(run)})
    assert _comparable({k: v for k, v in ours.items() if k in expected}) == expected
    # what the reference does not have is ours, or tells the CLIP skip
    extra = set(ours) - set(golden) - {metadata.RECIPE_KEY, metadata.FOLDERS_KEY}
    assert extra <= {"modelspec.encoder_layer"}
    assert all(isinstance(value, str) for value in ours.values())


@pytest.mark.golden
@pytest.mark.parametrize("run", RUNS, ids=golden_runs.name)
def test_network_and_optimiser_are_named_as_there(run, tmp_path):
    ours, golden = _built(run, tmp_path), golden_runs.metadata(run)
    assert ours["ss_optimizer"].partition("(")[0] == golden["ss_optimizer"].partition("(")[0]
    assert ours["ss_network_module"] == golden["ss_network_module"]
    own, reference = (json.loads(said.get("ss_network_args", "{}")) for said in (ours, golden))
    for name in own.keys() & reference.keys():
        assert own[name] == reference[name] or float(own[name]) == float(reference[name]), name


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
    versions = golden_data.facts("07_format")["model_version_strings"]
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
    settings = from_mapping(dict.fromkeys(metadata.PATH_FIELDS, folder))
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
