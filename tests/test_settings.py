"""The schema, its refusals, recipes as TOML, presets and advice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import SettingsError
from lib_lora_train.settings import load, recipe
from lib_lora_train.settings.advice import Facts, advise
from lib_lora_train.settings.describe import describe, fields, options_markdown
from lib_lora_train.settings.presets import PRESETS, apply
from lib_lora_train.settings.schema import Settings, groups


def _value(field: dict) -> st.SearchStrategy:
    if field["type"] == "bool":
        return st.booleans()
    if field["type"] == "choice":
        return st.sampled_from(field["choices"])
    low, high = field.get("min"), field.get("max")
    if field["type"] == "int":
        return st.integers(low if low is not None else -1000, min(high or 10**6, 2**63 - 1))
    if field["type"] == "float":
        return st.floats(low or 0, high or 1e6, allow_nan=False)
    return st.just(field["default"])


@given(st.fixed_dictionaries({}, optional={name: _value(field) for name, field in fields().items()}))
def test_any_recipe_survives_toml_and_json(values):
    settings = load.from_mapping(values)
    assert recipe.loads(recipe.dumps(settings)) == settings
    assert load.from_mapping(msgspec.json.decode(msgspec.json.encode(load.to_mapping(settings)))) == settings


def test_field_names_are_unique_over_groups():
    names = [f.name for struct in groups().values() for f in msgspec.structs.fields(struct)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("mapping", "field", "word"),
    [
        ({"netwrk_dim": 3}, "netwrk_dim", "network_dim"),
        ({"network": {"netwrk_dim": 3}}, "netwrk_dim", "network_dim"),
        ({"network_dim": 0}, "network_dim", "from 1"),
        ({"network_type": "LoFoo"}, "network_type", "LoCon"),
        ({"learning_rate": "fast"}, "learning_rate", "number"),
        ({"resolution": "big"}, "resolution", "512"),
        ({"network": 3}, "network", "[network]"),
        ({"recipe_version": 99}, "recipe_version", "Update"),
    ],
)
def test_a_refusal_names_the_field_and_the_remedy(mapping, field, word):
    with pytest.raises(SettingsError) as error:
        load.from_mapping(mapping)
    assert error.value.field == field
    assert word in str(error.value)


def test_texts_of_forms_and_lists_are_understood():
    settings = load.from_mapping({"network_dim": "8", "learning_rate": "1e-3", "resolution": [512, 768]})
    assert (settings.network.network_dim, settings.optimizer.learning_rate) == (8, 1e-3)
    assert settings.data.resolution == "512x768"


def test_a_recipe_file_that_is_no_toml_is_named(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("network_dim = = 3")
    with pytest.raises(SettingsError, match="broken.toml"):
        recipe.read(path)


def test_defaults_are_within_their_own_advice_and_bounds():
    assert load.from_mapping(load.to_mapping(Settings())) == Settings()
    assert advise(Settings()) == []


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("family", ["SD1", "SDXL"])
def test_presets_apply_and_contradict_no_advice(name, family):
    mine = load.from_mapping({"output_name": "mine", "train_data_dir": "/pictures", "network_dim": 5})
    settings = apply(PRESETS[name], mine, family)
    assert (settings.naming.output_name, settings.data.train_data_dir) == ("mine", "/pictures")
    assert [a for a in advise(settings) if a.level == "error"] == []
    assert settings.data.resolution == ("1024" if family == "SDXL" else settings.data.resolution)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"optimizer_type": "Prodigy", "learning_rate": 1, "text_encoder_lr": 0.5}, "text_encoder_lr"),
        ({"train_unet": False, "train_text_encoder": False}, "train_unet"),
        ({"lr_scheduler": "constant", "lr_warmup_steps": 10}, "lr_warmup_steps"),
        ({"optimizer_type": "DAdaptAdam", "learning_rate": 1, "text_encoder_lr": 0.5}, "text_encoder_lr"),
        ({"min_bucket_reso": 512, "max_bucket_reso": 256}, "min_bucket_reso"),
        ({"caption_mode": "phrase"}, "caption_phrase"),
        ({"min_timestep": 500, "max_timestep": 400}, "min_timestep"),
    ],
)
def test_what_cannot_work_is_an_error_at_its_field(values, field):
    errors = [a.field for a in advise(load.from_mapping(values)) if a.level == "error"]
    assert errors == [field]


DADAPT = {"optimizer_type": "DAdaptAdam", "learning_rate": 1, "text_encoder_lr": 0, "min_snr_gamma": 0}
DADAPT["lr_scheduler"] = "constant"
PRODIGY = {**DADAPT, "optimizer_type": "Prodigy"}


@pytest.mark.parametrize(
    ("values", "facts", "field"),
    [
        ({**DADAPT, "unet_lr": 0.5}, Facts(), "text_encoder_lr"),
        ({**PRODIGY, "block_lr_weight": "style"}, Facts(), "block_lr_weight"),
        ({**PRODIGY, "up_lr_weight": "sine"}, Facts(), "up_lr_weight"),
        ({**PRODIGY, "loraplus_lr_ratio": 4}, Facts(), "loraplus_lr_ratio"),
        ({"lr_warmup_steps": 100}, Facts(steps=100), "lr_warmup_steps"),
        ({"resolution": "32"}, Facts(), "resolution"),
    ],
)
def test_what_this_run_cannot_do_is_an_error_at_its_field(values, facts, field):
    assert [a.field for a in advise(load.from_mapping(values), facts) if a.level == "error"] == [field]


@pytest.mark.parametrize(
    ("values", "facts", "field"),
    [
        ({"network_alpha": 64}, Facts(), "network_alpha"),
        ({"optimizer_type": "Prodigy", "learning_rate": 1, "text_encoder_lr": 1}, Facts(), "lr_scheduler"),
        ({"v_parameterization": "yes"}, Facts(prediction="epsilon"), "v_parameterization"),
        ({}, Facts(memory_gb=9, memory_free_gb=6), "train_batch_size"),
        ({"learning_rate": 1.0}, Facts(), "learning_rate"),
        ({**DADAPT, "lr_scheduler": "cosine"}, Facts(), "lr_scheduler"),
        ({**DADAPT, "min_snr_gamma": 5}, Facts(), "min_snr_gamma"),
        ({**PRODIGY, "min_snr_gamma": 8}, Facts(), "min_snr_gamma"),
        ({**PRODIGY, "learning_rate": 1e-4}, Facts(), "learning_rate"),
        ({**PRODIGY, "scale_lr": "sqrt"}, Facts(), "scale_lr"),
        ({**PRODIGY, "lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 9}, Facts(), "optimizer_args"),
        ({"lr_scheduler": "constant_with_warmup"}, Facts(), "lr_warmup_steps"),
        ({"network_type": "LoCon", "conv_alpha": 9}, Facts(), "conv_alpha"),
        ({"network_type": "IA3"}, Facts(), "learning_rate"),
        ({"network_type": "OFT"}, Facts(), "network_type"),
        ({"network_type": "LoHa", "network_dim": 64}, Facts(), "network_dim"),
        ({"network_type": "BOFT", "network_dim": 4, "network_alpha": 4}, Facts(), "network_dim"),
        ({"network_type": "DyLoRA", "network_dim": 30}, Facts(), "dylora_unit"),
        ({"dim_from_weights": True}, Facts(), "dim_from_weights"),
        ({"scale_v_pred_loss_like_noise_pred": True}, Facts(), "min_snr_gamma"),
        ({"random_crop": True}, Facts(), "random_crop"),
        ({"resolution": "1536"}, Facts(), "max_bucket_reso"),
        ({}, Facts(pictures=5), "train_data_dir"),
        ({"optimizer_type": "AdaFactor", "lr_scheduler": "linear"}, Facts(), "lr_scheduler"),
        ({"optimizer_type": "AdaFactor", "lr_scheduler": "constant"}, Facts(), "learning_rate"),
        ({"optimizer_type": "AdamWScheduleFree", "lr_scheduler": "cosine"}, Facts(), "lr_scheduler"),
        ({"debiased_estimation_loss": True}, Facts(), "debiased_estimation_loss"),
        ({"unet_lr": 0.01}, Facts(), "learning_rate"),
        ({"optimizer_type": "Lion", "learning_rate": 1e-3}, Facts(), "learning_rate"),
        ({"lr_scheduler": "polynomial", "lr_scheduler_power": 0}, Facts(), "lr_scheduler_power"),
    ],
)
def test_warnings_stand_at_their_field(values, facts, field):
    found = advise(load.from_mapping(values), facts)
    assert field in [a.field for a in found]
    assert all(a.level == "warning" for a in found)


def test_prodigy_with_a_safeguarded_warm_up_is_not_remarked():
    warm = {**PRODIGY, "lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 9}
    assert advise(load.from_mapping({**warm, "optimizer_args": "safeguard_warmup=True"})) == []


def test_adafactor_with_rates_of_the_users_takes_them():
    mine = {"optimizer_type": "AdaFactor", "optimizer_args": "relative_step=False warmup_init=False"}
    assert advise(load.from_mapping({**mine, "lr_scheduler": "linear"})) == []


def test_every_field_is_described_for_people():
    for group in describe():
        assert group["title"]
        for field in group["fields"]:
            assert field["label"] != field["name"], field["name"]
    assert fields()["network_type"]["choices"][0] == "LoRA"


def test_the_options_page_is_the_schema_s():
    page = Path(__file__).parents[1] / "docs" / "options.md"
    assert page.read_text(encoding="utf-8") == options_markdown(), "run `python dev.py docs`"
