"""The user's own recipes on disk: what is kept of them, names, taking a deletion back."""

from __future__ import annotations

import pytest

from lib_lora_train.app import own_recipes
from lib_lora_train.app.refusals import Conflict, NotFound
from lib_lora_train.errors import SettingsError
from lib_lora_train.settings import recipe
from lib_lora_train.settings.load import from_mapping

MINE = from_mapping({"network_dim": 12, "output_name": "cat", "train_data_dir": "/pictures", "sample_prompts": "a cat"})


def names(folder):
    return [one["name"] for one in own_recipes.listing(folder)]


def test_a_recipe_keeps_the_way_of_training_and_nothing_of_one_lora(tmp_path):
    own_recipes.save(tmp_path, "  Café dolls ", MINE)
    (found,) = own_recipes.listing(tmp_path)
    assert found["name"] == "Café dolls" and found["changed"] == 2 and not found["problem"]
    assert found["values"]["network_dim"] == 12 and found["values"]["sample_prompts"] == "a cat"
    assert not set(found["values"]) & set(own_recipes.OWN)
    assert "/pictures" not in (tmp_path / "recipes" / "Café dolls.toml").read_text(encoding="utf-8")


def test_a_name_that_is_taken_is_replaced_only_on_request(tmp_path):
    own_recipes.save(tmp_path, "one", MINE)
    with pytest.raises(Conflict):
        own_recipes.save(tmp_path, "one", from_mapping({"network_dim": 4}))
    own_recipes.save(tmp_path, "one", from_mapping({"network_dim": 4}), replace=True)
    assert own_recipes.listing(tmp_path)[0]["values"]["network_dim"] == 4


def test_renaming_overwrites_nothing(tmp_path):
    own_recipes.save(tmp_path, "one", MINE)
    own_recipes.save(tmp_path, "two", MINE)
    with pytest.raises(Conflict):
        own_recipes.rename(tmp_path, "one", "two")
    own_recipes.rename(tmp_path, "one", "One")
    assert names(tmp_path) == ["One", "two"]
    with pytest.raises(NotFound):
        own_recipes.rename(tmp_path, "one and a half", "three")


def test_deleting_can_be_taken_back_unless_the_name_is_used_again(tmp_path):
    own_recipes.save(tmp_path, "one", MINE)
    undo = own_recipes.delete(tmp_path, "one")
    assert names(tmp_path) == []
    assert own_recipes.restore(tmp_path, undo) == "one" and names(tmp_path) == ["one"]
    with pytest.raises(NotFound):
        own_recipes.restore(tmp_path, undo)
    undo = own_recipes.delete(tmp_path, "one")
    own_recipes.save(tmp_path, "one", from_mapping({}))
    with pytest.raises(Conflict):
        own_recipes.restore(tmp_path, undo)
    own_recipes.rename(tmp_path, "one", "newer")
    own_recipes.restore(tmp_path, undo)
    assert names(tmp_path) == ["newer", "one"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "deleted/x", "con", "x" * 300, "a\0b"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "x.toml").write_text("")
    with pytest.raises(SettingsError):
        own_recipes.save(tmp_path, name, MINE)
    for act in (lambda: own_recipes.delete(tmp_path, name), lambda: own_recipes.rename(tmp_path, name, "y")):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(NotFound):
        own_recipes.restore(tmp_path, name)
    assert (tmp_path / "x.toml").exists()


def test_a_damaged_recipe_is_listed_with_what_is_wrong(tmp_path):
    own_recipes.save(tmp_path, "fine", MINE)
    (tmp_path / "recipes" / "bad.toml").write_text("[network]\nnetwork_dim = 'lots'\n")
    bad, fine = own_recipes.listing(tmp_path)
    assert "network_dim" in bad["problem"] and bad["values"] == {} and not fine["problem"]


def test_an_exported_recipe_is_whole_but_for_folders():
    text = own_recipes.text(MINE)
    assert recipe.loads(text) == from_mapping({"train_data_dir": ""}, MINE)
