"""The toy world: captions tell what is drawn, rules read it back, and making a checkpoint can be interrupted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

pytest.importorskip("torch.nn.attention", reason="the demo's checkpoint is made with a newer torch than web UIs pin")
from demo import make_checkpoint, make_measure, make_model, make_vae, world  # noqa: E402
from demo.make_pool import Pool, picture, pixels  # noqa: E402


def test_a_scene_is_the_same_every_time() -> None:
    first, second = (world.scene(random.Random(4)) for _ in range(2))
    assert first == second
    assert world.draw(first).tobytes() == world.draw(second).tobytes()


def test_captions_keep_the_first_tag_and_lose_some_others() -> None:
    scene = world.scene(random.Random(1), pairs=0)
    captions = {world.caption(scene, random.Random(n)) for n in range(40)}
    assert all(caption.startswith(scene.tags[0]) for caption in captions)
    assert len(captions) >= 8
    assert {tag for caption in captions for tag in caption.split(", ")} == set(scene.tags)


def test_rules_read_back_what_was_drawn() -> None:
    """The measure is worth something: on perfect pictures it is nearly right, on others' captions it is not."""
    scenes = [world.scene(random.Random(f"read-{n}"), pairs=0) for n in range(60)]
    images = [world.draw(scene) for scene in scenes]
    right, wrong = (make_measure.agreement(each, images) for each in (scenes, scenes[1:] + scenes[:1]))
    assert all(right[name] >= least for name, least in _LEAST.items()), right
    assert all(wrong[name] <= 0.6 for name in right), wrong


_LEAST = {"ground": 0.97, "colour": 0.95, "shape": 0.8, "size": 0.9, "place": 0.9}


def test_things_never_have_the_colour_of_their_ground() -> None:
    scenes = [world.scene(random.Random(n)) for n in range(300)]
    assert not [scene for scene in scenes if any(thing.colour == scene.ground for thing in scene.things)]


def test_pixels_and_back() -> None:
    image = world.draw(world.scene(random.Random(9)))
    assert picture(pixels([image])[0]).tobytes() == image.tobytes()


@pytest.fixture(scope="module")
def model() -> make_model.Model:
    return make_model.nothing(torch.Generator().manual_seed(0))


def test_the_modules_train_the_files_tensors(model: make_model.Model, tmp_path: Path) -> None:
    """Borrowed parameters are the tensors that are saved, so nothing has to be renamed back."""
    with torch.no_grad():
        model.unet.conv_out.bias.fill_(0.25)
    model.save(tmp_path / "a.safetensors")
    again = make_model.load(tmp_path / "a.safetensors")
    assert torch.equal(again.tensors["model.diffusion_model.out.2.bias"], torch.full((4,), 0.25))
    assert (tmp_path / "a.safetensors").stat().st_size < 40e6


def test_vae_stages_learn_colours(model: make_model.Model) -> None:
    error = make_vae.train(model, (make_vae.Stage(16, 16, 40, 1e-3),))
    assert error < 0.45  # nothing but grey is about 0.6
    spread = model.vae.encode(torch.zeros(1, 3, 16, 16)).latent_dist.std
    assert torch.allclose(spread, torch.full_like(spread, make_vae.SPREAD), rtol=1e-3)


def test_resuming_goes_on_where_it_was(model: make_model.Model, tmp_path: Path) -> None:
    out = tmp_path / "made.safetensors"
    plan = make_checkpoint.Plan(batch=2, first_pool=4, pool=4)
    training = make_checkpoint.Training(model, plan, out)
    training._step()
    training.save()
    training._step()
    wanted = [p.detach().clone() for p in training.params]

    resumed = make_checkpoint.Training(make_model.nothing(torch.Generator().manual_seed(1)), plan, out)
    resumed.model.tensors["first_stage_model.quant_conv.weight"].copy_(
        model.tensors["first_stage_model.quant_conv.weight"]
    )
    assert resumed.resume()
    resumed._step()
    assert resumed.at.step == 2
    for got, expected in zip(resumed.params, wanted, strict=True):
        torch.testing.assert_close(got.detach(), expected, rtol=1e-4, atol=1e-6)


def test_the_pool_is_the_same_after_a_restart(model: make_model.Model) -> None:
    pool, again = Pool(), Pool()
    pool.grow(model, 3)
    again.restore(pool.latents)
    assert again.scenes == pool.scenes
    one, two = (each.batch(4, random.Random(1)) for each in (again, pool))
    assert one.captions == two.captions and one.things.equal(two.things) and one.latents.equal(two.latents)
