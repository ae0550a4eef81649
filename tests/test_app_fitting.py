"""Recipe cards: tuned to what is loaded and to the card's memory by the estimate."""

from __future__ import annotations

import pytest

from lib_lora_train.app import fitting
from lib_lora_train.hosts.base import HostStatus
from lib_lora_train.settings import difficulty
from lib_lora_train.settings.advice import advise
from lib_lora_train.settings.load import from_mapping


def cards(family="SD1", total=24.0, prediction="epsilon", card=True):
    status = HostStatus(
        host="x", checkpoint="c", family=family, prediction=prediction, memory_total_gb=total, card=card
    )
    return {one["name"]: one for one in fitting.cards(status)}


def settings(card):
    return from_mapping(card["values"])


@pytest.mark.parametrize("total", [4, 6, 8, 12, 24])
@pytest.mark.parametrize("family", ["SD1", "SD2", "SDXL"])
def test_cards_fit_the_memory_or_say_that_they_do_not(family, total):
    for card in cards(family, total).values():
        fits = card["memory_gb"] <= max(total - fitting._LOADED[family], 0.3)
        assert fits != any("too much" in note for note in card["notes"]), card
        assert [one for one in advise(settings(card)) if one.level == "error"] == []


def test_small_memory_saves_before_it_shrinks():
    small, large = cards("SDXL", 12)["character"], cards("SDXL", 80)["character"]
    assert not large["notes"] and not settings(large).training.gradient_checkpointing
    assert settings(small).training.gradient_checkpointing and "gradient checkpointing" in small["notes"]
    assert settings(small).data.resolution == settings(large).data.resolution == "1024"
    assert small["memory_gb"] < large["memory_gb"]


def test_a_roomy_card_trains_sd1_larger_and_a_processor_does_not():
    assert settings(cards("SD1", 24)["character"]).data.resolution == "640"
    assert settings(cards("SD1", 5)["character"]).data.resolution == "512"
    assert settings(cards("SD1", 0)["character"]).data.resolution == "512"
    assert settings(cards("SD1", 64, card=False)["character"]).data.resolution == "512"


def test_what_the_checkpoint_predicts_is_heeded():
    plain, v = settings(cards("SD1")["easy"]).loss, settings(cards("SD1", prediction="v_prediction")["easy"]).loss
    assert not plain.scale_v_pred_loss_like_noise_pred and plain.min_snr_gamma == 5
    assert v.scale_v_pred_loss_like_noise_pred and v.min_snr_gamma == 0
    assert settings(cards("SD2", prediction="v_prediction")["easy"]).data.resolution == "768"


def test_difficulty_rises_with_its_class_and_stays_in_the_guides_ranges():
    halves = [difficulty.advised(step / 2) for step in range(17)]
    assert halves == sorted(halves) and len(set(halves)) == 17
    for place, level in enumerate(difficulty.LEVELS):
        rank, steps = difficulty.advised(place)
        assert level.low <= rank <= level.high and steps == level.steps
    assert difficulty.advised(-3) == difficulty.advised(0) and difficulty.advised(99) == difficulty.advised(8)
