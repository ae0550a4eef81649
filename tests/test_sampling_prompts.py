"""Lines of sample prompts, with sd-scripts' options."""

from __future__ import annotations

import pytest

from lib_lora_train.errors import SettingsError
from lib_lora_train.sampling.prompts import parse, requests
from lib_lora_train.settings.load import from_mapping


def _of(text, **more):
    return requests(from_mapping({"sample_prompts": text, **more}), 2)


def test_one_request_per_line_with_the_recipes_values():
    values = {"resolution": "512x768", "sample_seed": 5, "sample_cfg": 4, "sample_negative": "bad"}
    first, second = _of("a cat, solo\n\n  a dog  ", **values)
    assert (first.prompt, second.prompt, first.seed, second.seed) == ("a cat, solo", "a dog", 5, 6)
    assert (first.width, first.height, first.cfg, first.negative, first.clip_skip) == (512, 768, 4, "bad", 2)
    assert _of("x", sample_size="256")[0].width == 256


def test_without_prompts_the_trigger_word_is_drawn():
    assert [r.prompt for r in _of("", trigger_word="pib")] == ["pib"]
    assert [r.prompt for r in _of(" \n ")] == [""]


def test_options_of_sd_scripts_are_understood():
    (request,) = _of("a cat--like thing --n low quality, bad --w 640 --h 384 --d 7 --s 9 --l 3.5")
    assert (request.prompt, request.negative) == ("a cat--like thing", "low quality, bad")
    assert (request.width, request.height, request.seed, request.steps, request.cfg) == (640, 384, 7, 9, 3.5)


@pytest.mark.parametrize("line", ["a --w wide", "a --x 3", "a --d -4"])
def test_what_is_not_understood_is_refused_by_field(line):
    with pytest.raises(SettingsError) as caught:
        parse(line, _of("")[0])
    assert caught.value.field == "sample_prompts"
