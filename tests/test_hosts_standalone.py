"""The stand-alone host: a mapped file is lent untouched, the lock goes round in order, prompts name LoRAs."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo import tiny
from lib_lora_train.adapters.build import build
from lib_lora_train.errors import CheckpointSwitched, HostError, SettingsError
from lib_lora_train.hosts.base import PictureRequest
from lib_lora_train.hosts.fifo import FifoLock
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.schema import NetworkSettings

MAPS = Path("/proc/self/maps")


@pytest.fixture
def host(tiny_checkpoint, tmp_path):
    (tmp_path / "lora").mkdir()
    return StandaloneHost(tiny_checkpoint, tmp_path / "lora", tmp_path / "data")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def output(loan):
    conditioning = loan.family.encode_text(loan, ["blob"], 75, 1)
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return loan.family.predict(loan, noisy, torch.tensor([500]), conditioning)


def test_the_file_is_mapped_not_copied(host, tiny_checkpoint):
    before = digest(tiny_checkpoint)
    with host.lend() as loan:
        parameters = [p for m in (loan.unet, loan.vae, *loan.text_encoders) for p in m.parameters()]
        span = [f(p.data_ptr() + end * p.nbytes for p in parameters) for f, end in ((min, 0), (max, 1))]
        assert span[1] - span[0] <= tiny_checkpoint.stat().st_size  # one stretch of memory
        if MAPS.exists():
            lines = [line.split()[0] for line in MAPS.read_text().splitlines() if str(tiny_checkpoint) in line]
            mapped = [[int(number, 16) for number in line.split("-")] for line in lines]  # other tests may map it too
            assert any(first <= span[0] and span[1] <= last for first, last in mapped)
        assert torch.isfinite(output(loan)).all()
        assert loan.identity.title == tiny_checkpoint.name
    assert digest(tiny_checkpoint) == before


def test_lending_twice_is_quick_and_the_same(host):
    with host.lend() as loan:
        first = output(loan)
    begun = time.process_time()  # of this process, so that a busy machine does not count
    with host.lend() as loan:
        assert time.process_time() - begun < 2  # without imports; usually 0.2
        assert torch.equal(output(loan), first)


@pytest.mark.parametrize(
    ("velocity", "zero", "sidecar"),
    [(False, False, True), (True, False, True), (False, True, True), (True, True, False)],
)
def test_prediction_and_schedule_are_detected(tmp_path, velocity, zero, sidecar):
    path = tiny.make(tmp_path, v_prediction=velocity, zero_terminal_snr=zero)
    if not sidecar:
        path.with_suffix(".yaml").unlink()
    with StandaloneHost(path, tmp_path, tmp_path).lend() as loan:
        assert loan.prediction == ("v_prediction" if velocity else "epsilon")
        assert loan.zero_terminal_snr == zero
        assert (loan.alphas_cumprod[-1] == 0) == zero
        assert loan.alphas_cumprod[0] == pytest.approx(1 - 0.00085)
        assert (loan.vae_scale, loan.clip_skip) == (0.18215, 1)
        # without the yaml nothing says how many heads there are
        assert loan.unet.mid_block.attentions[0].transformer_blocks[0].attn1.heads == (4 if sidecar else 8)


def test_the_yaml_wins_over_marks_in_the_file(tmp_path):
    path = tiny.make(tmp_path, v_prediction=True)
    yaml = path.with_suffix(".yaml")
    yaml.write_text(yaml.read_text().replace("parameterization: v", "parameterization: eps\n    scale_factor: 0.2"))
    yaml.write_text(yaml.read_text().replace("    scale_factor: 0.18215\n", ""))
    with StandaloneHost(path, tmp_path, tmp_path).lend() as loan:
        assert (loan.prediction, loan.vae_scale) == ("epsilon", 0.2)


def test_a_schedule_in_the_checkpoint_is_used(tiny_checkpoint, tmp_path):
    own = torch.linspace(0.99, 0.01, 1000)
    save_file({**load_file(tiny_checkpoint), "alphas_cumprod": own.half()}, tmp_path / "own.safetensors")
    with StandaloneHost(tmp_path / "own.safetensors", tmp_path, tmp_path).lend() as loan:
        assert torch.equal(loan.alphas_cumprod, own.half().float())


def test_a_separate_vae(tiny_checkpoint, tmp_path):
    tensors = load_file(tiny_checkpoint)
    prefix = "first_stage_model."
    vae = {key.removeprefix(prefix): t * 0 + 1 for key, t in tensors.items() if key.startswith(prefix)}
    save_file(vae, tmp_path / "ones.safetensors")
    host = StandaloneHost(tiny_checkpoint, tmp_path, tmp_path, vae=tmp_path / "ones.safetensors")
    with host.lend() as loan:
        assert loan.identity.vae == "ones.safetensors"
        assert all((p == 1).all() for p in loan.vae.parameters())


def test_status_says_what_is_there_without_the_lock(host, tmp_path):
    with host.lend():
        answers = []
        asker = threading.Thread(target=lambda: answers.append(host.status()))
        asker.start()
        asker.join(20)
    status = answers[0]
    assert (status.family, status.prediction, status.precision, status.problem) == ("SD1", "epsilon", "float32", "")


@pytest.mark.parametrize("name", ["missing.safetensors", "broken.safetensors", "pickle.ckpt"])
def test_files_that_cannot_be_lent_are_named(tmp_path, name):
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"\xff" * 64)
    host = StandaloneHost(tmp_path / name, tmp_path, tmp_path)
    assert name in host.status().problem
    for _ in range(2):  # the lock is free again
        with pytest.raises(HostError, match=name), host.lend():
            pass


@pytest.mark.parametrize(
    "text", ["model: [", "model: {params: {parameterization: x0}}", "model: {params: {scale_factor: big}}"]
)
def test_a_broken_yaml_is_named(tmp_path, text):
    path = tiny.make(tmp_path)
    path.with_suffix(".yaml").write_text(text)
    assert "tiny-sd1.yaml" in StandaloneHost(path, tmp_path, tmp_path).status().problem


def test_other_families_are_told_before_anything_starts(tiny_checkpoint, tmp_path):
    tensors = load_file(tiny_checkpoint)
    wide = {key: torch.zeros(len(t), 1280) for key, t in tensors.items() if key.endswith("attn2.to_k.weight")}
    label = {"model.diffusion_model.label_emb.0.0.weight": torch.ones(2, 2)}
    save_file({**tensors, **wide, **label}, tmp_path / "refiner.safetensors")
    assert "SDXL refiner" in StandaloneHost(tmp_path / "refiner.safetensors", tmp_path, tmp_path).status().problem


def save_lora(host, folder, name, size=0.5):
    with host.lend() as loan:
        tensors = build(loan, NetworkSettings(network_dim=4, network_alpha=4), seed=1).state_dict(torch.float16)
    generator = torch.Generator().manual_seed(8)
    tensors = {k: t if "alpha" in k else size * torch.randn(t.shape, generator=generator) for k, t in tensors.items()}
    save_file(tensors, folder / f"{name}.safetensors")


REQUEST = PictureRequest("blob", width=64, height=64, steps=2, cfg=2.0)


def picture(host, prompt):
    return host.txt2img(replace(REQUEST, prompt=prompt))[0].tobytes()


def test_prompts_name_loras(host):
    (host.lora_dir() / "sub").mkdir()
    save_lora(host, host.lora_dir() / "sub", "mine")
    plain = picture(host, "blob")
    changed = picture(host, "blob <lora:mine:1>")
    assert changed != plain
    assert picture(host, "<lora:mine:0.5> blob") not in (plain, changed)
    assert picture(host, "blob <lora:mine:0>") == plain
    assert picture(host, "blob <lora:mine:1:0>") not in (plain, changed)
    assert picture(host, "blob") == plain


@pytest.mark.parametrize(
    ("prompt", "error"),
    [("<lora:nobody:1>", HostError), ("<lora:mine:much>", HostError), ("<lora:bad:1>", SettingsError)],
)
def test_unusable_loras_are_refused_and_leave_nothing(host, prompt, error):
    save_lora(host, host.lora_dir(), "mine")
    save_file(
        {"x.lora_down.weight": torch.ones(1), "x.lora_up.weight": torch.ones(1)}, host.lora_dir() / "bad.safetensors"
    )
    plain = picture(host, "blob")
    with pytest.raises(error):
        picture(host, f"<lora:mine:1> {prompt}")
    assert picture(host, "blob") == plain


def test_pictures_are_the_hosts_own_while_a_run_trains(host):
    plain = picture(host, "blob")
    with host.lend() as loan:
        adapters = build(loan, NetworkSettings(), seed=1)
        with torch.no_grad():
            for up in adapters.parameters("unet")[1::2]:
                up.fill_(1.0)
        adapters.attach()
        assert picture(host, "blob") == plain


def test_a_picture_of_another_checkpoint_is_refused(host, tiny_checkpoint):
    assert host.txt2img(replace(REQUEST, checkpoint=tiny_checkpoint.name))
    with pytest.raises(HostError, match="other.safetensors|tiny-sd1"):
        host.txt2img(replace(REQUEST, checkpoint="other.safetensors"))


def test_breathing_lets_a_waiting_picture_through(host):
    plain, seen = picture(host, "blob"), []
    with host.lend() as loan:
        assert host.breathe(loan) is False
        asker = threading.Thread(target=lambda: seen.append(picture(host, "blob")))
        asker.start()
        wait_until(lambda: host._lock.waiting)
        assert not seen
        assert host.breathe(loan) is True
        assert seen == [plain]
        assert loan.generation == 0
        asker.join(20)


def test_a_switched_checkpoint_is_noticed_and_coming_back_rebinds(host, tiny_checkpoint, tmp_path):
    other = tiny.make(tmp_path, name="other", v_prediction=True)
    with host.lend() as loan:
        before, unet = output(loan), loan.unet
        with pytest.raises(CheckpointSwitched, match="other.safetensors"), host.away(loan):
            host.load(other)
        with pytest.raises(CheckpointSwitched), host.away(loan):
            picture(host, "the lock is free")
        with host.away(loan):
            host.load(tiny_checkpoint)
            picture(host, "blob")  # loads it
        assert loan.generation == 1
        assert loan.unet is unet
        assert torch.equal(output(loan), before)
    with host.lend():
        pass


def test_an_error_away_comes_through_with_the_lock_held(host):
    with host.lend() as loan:
        with pytest.raises(ValueError), host.away(loan):
            raise ValueError
        assert host._lock.mine
    assert not host._lock.locked


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_lock_serves_in_order():
    lock, order, threads = FifoLock(), [], []
    lock.acquire()
    for number in range(5):
        threads.append(threading.Thread(target=lambda number=number: take(lock, order, number)))
        threads[-1].start()
        wait_until(lambda: lock.waiting == len(threads))
    lock.release()
    lock.acquire()  # behind all of them
    assert order == list(range(5))
    lock.release()
    for thread in threads:
        thread.join(20)


def take(lock, order, number):
    with lock:
        order.append(number)


def test_the_lock_knows_its_owner():
    lock = FifoLock()
    with lock:
        with pytest.raises(RuntimeError):
            lock.acquire()
        other = threading.Thread(target=lambda: pytest.raises(RuntimeError, lock.release))
        other.start()
        other.join(20)
        assert lock.mine
    with pytest.raises(RuntimeError):
        lock.release()
