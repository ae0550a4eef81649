"""What goes with what among the options of pictures, captions and loss, said at the field."""

from __future__ import annotations

import pytest

from lib_lora_train.settings import load
from lib_lora_train.settings.advice import advise
from lib_lora_train.settings.from_sd_options import carry
from lib_lora_train.settings.shown import unused


@pytest.mark.parametrize(
    ("values", "field", "level"),
    [
        ({"color_aug": True}, "color_aug", "warning"),
        ({"crop_aug": 0.1}, "crop_aug", "warning"),
        ({"face_crop_aug_range": "2.0,4.0"}, "face_crop_aug_range", "warning"),
        ({"masked_loss": True}, "conditioning_data_dir", "error"),
        ({"shuffle_caption": True, "trigger_word": "pib"}, "keep_tokens", "warning"),
    ],
)
def test_advice_stands_at_its_field(values, field, level):
    found = advise(load.from_mapping(values))
    assert [(a.field, a.level) for a in found] == [(field, level)]


@pytest.mark.parametrize(
    "values",
    [
        {"timestep_sampling": "shift", "sigmoid_scale": 1.5, "discrete_flow_shift": 2.0},
        {"masked_loss": True, "conditioning_data_dir": "masks"},
        {"masked_loss": True, "alpha_mask": True},
        {"shuffle_caption": True, "trigger_word": "pib", "keep_tokens_separator": "|||"},
        {"shuffle_caption": True, "trigger_word": "pib", "caption_prefix": "pib,"},
    ],
)
def test_what_goes_together_is_not_remarked(values):
    settings = load.from_mapping(values)
    assert advise(settings) == [] and unused(settings) == []


@pytest.mark.parametrize(
    "values",
    [
        {"logit_mean": 0.5},
        {"timestep_sampling": "sigmoid", "discrete_flow_shift": 2.0},
        {"conditioning_data_dir": "masks"},
        {"token_warmup_min": 3},
    ],
)
def test_what_does_nothing_is_known(values):
    assert unused(load.from_mapping(values)) == [list(values)[-1]]


def test_what_sd_scripts_says_of_pictures_and_captions_is_carried_over():
    said = {
        "color_aug": "True", "random_crop": "True", "face_crop_aug_range": "(2.0, 4.0)", "alpha_mask": "True",
        "masked_loss": "True", "keep_tokens_separator": "|||", "secondary_separator": ";;",
        "caption_prefix": "photo of", "caption_suffix": "in oil", "enable_wildcard": "True",
        "weighted_captions": "True",
        "token_warmup_min": "2", "token_warmup_step": "0.25", "caption_dropout_every_n_epochs": "3",
    }  # fmt: skip
    found = carry(said)
    assert found.lost == [] and found.values.keys() == said.keys()
    settings = load.from_mapping(found.values)
    assert settings.data.face_crop_aug_range == "2.0,4.0" and settings.captions.token_warmup_step == 0.25
