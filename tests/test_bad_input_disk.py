"""Disks that are full, folders that may not be written, and both only for a while: nothing that was trained is lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from bad_input_stage import Program, texts
from safetensors.torch import load_file

from lib_lora_train.app import jobs
from lib_lora_train.app.drive import Drive

LONG = {"max_train_steps": 5000, "save_every_n_steps": 0}


class Disk:
    """A small disk of its own at `path`, where the system lets us mount one."""

    def __init__(self, path: Path, megabytes: int):
        self.path = path
        path.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", os.fspath(path)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no disk can be mounted here")

    def fill(self) -> None:
        with open(self.path / "filler", "wb", buffering=0) as file:
            for size in (65536, 256):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC

    def free(self) -> None:
        (self.path / "filler").unlink()

    def close(self) -> None:
        subprocess.run(["umount", "-l", os.fspath(self.path)], check=True)


@contextmanager
def _mounted(path: Path, megabytes: int):
    disk = Disk(path, megabytes)
    try:
        yield disk
    finally:
        disk.close()


@pytest.fixture
def disk(tmp_path, program):
    """For the program's data folder; a good run goes well there, too, after the test."""
    with _mounted(tmp_path / "disk", 16) as disk:
        program.host._data_dir = disk.path / "train-lora"
        yield disk
        program.still_works()
        program.host._data_dir = tmp_path / "train-lora"


@pytest.fixture
def lora_disk(tmp_path, program):
    """For the LoRA folder."""
    with _mounted(tmp_path / "lora disk", 2) as disk:
        program.host._lora_dir = disk.path / "Lora"
        yield disk
        program.still_works()
        program.host._lora_dir = tmp_path / "Lora"


@contextmanager
def unwritable(folder: Path):
    """Nothing can be made or replaced in `folder`: by a flag that binds root too, else by permissions."""
    if os.geteuid():
        folder.chmod(0o555)
    elif shutil.which("chattr") is None or subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
        pytest.skip("no folder can be made read-only for root here")
    try:
        yield
    finally:
        if os.geteuid():
            folder.chmod(0o755)
        else:
            subprocess.run(["chattr", "-i", folder], check=True)


def _step(program: Program, run: str, least: int = 1) -> None:
    program.until(lambda: any(e["event"] == "Progress" and e["step"] >= least for e in program.events(run)))


def _fill_between_two_steps(program: Program, disk: Disk, run: str) -> None:
    """While it is paused: a file that is just being written would give its space back."""
    _step(program, run)
    program.post("pause")
    program.until(lambda: program.get("status")["job"]["state"] == "paused")
    disk.fill()


def _waits_for_space(program: Program) -> bool:
    job = program.get("status")["job"] or {}
    return job.get("state") == "paused" and "Resume tries to save it again" in job["paused_text"]


def test_a_full_disk_is_said_before_training(program, disk):
    disk.fill()
    body = program.refused()
    assert f"{disk.path} has 0.0 MB free" in body["error"] and "Free some space" in body["remedy"]
    disk.free()


def test_a_disk_that_fills_up_costs_warnings_and_the_end_waits_for_space(program, disk):
    """The result is that of a run that never met a full disk, bit for bit."""
    settings = {"max_train_steps": 60, "save_every_n_steps": 20, "sample_every_n_steps": 30}
    program.trained(**settings, output_name="whole")
    run = program.start(**settings, output_name="cat")
    _fill_between_two_steps(program, disk, run)
    program.post("resume")
    program.until(lambda: _waits_for_space(program))
    status = program.get("status")["job"]["paused_text"]
    assert "cat.safetensors cannot be written: No space left on device" in status and "Free some space" in status
    assert status.split(".")[0] in program.said.text
    assert program.post("start", settings=program.settings()).status_code == 409, "it is still there"
    disk.free()
    assert program.post("resume").status_code == 200
    told = program.end(run)
    assert told[-1]["event"] == "Finished" and told[-1]["reason"] == "done"
    said = texts(told)
    assert "The snapshot is not saved" in said and "The state is not saved" in said and "A sample is missing" in said
    whole, late = (load_file(program.loras / f"{name}.safetensors") for name in ("whole", "cat"))
    assert all(whole[name].equal(late[name]) for name in whole)
    assert [e["event"] for e in program.get("events", run=run)["events"]] == [e["event"] for e in told]
    assert program.get("runs")["runs"][0]["state"] == "done", "the record on disk has caught up"


def test_a_stopped_run_waits_for_space_as_well_and_a_second_stop_gives_up(program, disk):
    run = program.start(**LONG)
    _fill_between_two_steps(program, disk, run)
    program.post("stop")
    program.until(lambda: _waits_for_space(program))
    program.post("stop")
    failed = program.failure(program.end(run))
    assert "No space left" in failed["text"] and failed["can_resume"]
    assert not program.loras.exists()
    disk.free()
    before = len(program.events(run))
    assert program.post("continue", run=run).status_code == 200
    program.until(lambda: any(e["event"] == "Progress" for e in program.events(run)[before:]))
    program.post("stop")
    assert program.end(run)[-1]["reason"] == "stopped"
    assert load_file(program.loras / "cat.safetensors")


def test_it_is_tried_again_without_anybody_asking(program, disk, monkeypatch):
    monkeypatch.setattr(jobs, "Drive", partial(Drive, retry_s=0.2))
    run = program.start(max_train_steps=100)
    _fill_between_two_steps(program, disk, run)
    program.post("resume")
    program.until(lambda: sum(e["event"] == "Paused" and e["reason"] == "disk" for e in program.events(run)) >= 2)
    disk.free()
    assert program.end(run)[-1]["event"] == "Finished"


def test_a_full_lora_disk_fails_the_end_keeps_the_file_and_continuing_publishes_it(program, lora_disk):
    run = program.start(max_train_steps=100)
    _fill_between_two_steps(program, lora_disk, run)
    program.post("resume")
    failed = program.failure(program.end(run))
    assert "cat.safetensors cannot be written: No space left on device" in failed["text"]
    assert "Free some space" in failed["remedy"] and "run's folder has it as cat.safetensors" in failed["remedy"]
    kept = load_file(program.host.data_dir() / "runs" / run / "snapshots" / "cat.safetensors")
    assert not list(program.loras.rglob("*.*")), "nothing half there"
    lora_disk.free()
    assert failed["can_resume"] and program.post("continue", run=run).status_code == 200
    assert program.end(run)[-1]["event"] == "Finished"
    shown = load_file(program.loras / "cat.safetensors")
    assert all(kept[name].equal(shown[name]) for name in kept)


def test_a_full_lora_disk_leaves_the_old_lora_whole(program, lora_disk):
    program.trained()
    before = (program.loras / "cat.safetensors").read_bytes()
    run = program.start(confirm=True, max_train_steps=100)
    _fill_between_two_steps(program, lora_disk, run)
    program.post("resume")
    program.failure(program.end(run))
    assert (program.loras / "cat.safetensors").read_bytes() == before
    lora_disk.free()


def test_a_read_only_lora_folder_is_said_before_training_and_after_it(program):
    program.loras.mkdir()
    with unwritable(program.loras):
        body = program.refused()
        assert str(program.loras) in body["error"] and "may not be written" in body["remedy"]
        assert str(program.loras / "sub") in program.refused(output_folder="sub")["error"]
    run = program.start(max_train_steps=100)
    _step(program, run)
    with unwritable(program.loras):
        failed = program.failure(program.end(run))
    assert str(program.loras / "cat.safetensors") in failed["text"] and "Change its permissions" in failed["remedy"]
    assert program.post("continue", run=run).status_code == 200
    assert program.end(run)[-1]["event"] == "Finished" and load_file(program.loras / "cat.safetensors")


def test_a_read_only_data_folder_is_said_before_training(program):
    program.host.data_dir().mkdir()
    with unwritable(program.host.data_dir()):
        assert str(program.host.data_dir()) in program.refused()["error"]


def test_a_path_through_a_file_is_named(program):
    program.loras.write_text("not a folder")
    body = program.refused()
    assert str(program.loras) in body["error"] and "in the place of a folder" in body["remedy"]
    program.loras.unlink()


def test_what_the_system_refuses_is_told_where_no_disk_can_be_mounted(program, monkeypatch):
    """The same as above by injection: the rename of each kind of file fails once, the training is not lost."""
    from lib_lora_train.export import folder

    replace, refused = folder.os.replace, []

    def once(source, target):
        kind = Path(target).suffix + Path(target).parent.name
        if kind in (".safetensorssnapshots", ".safetensorsstate", ".pngsamples") and kind not in refused:
            refused.append(kind)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(target))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(folder.os, "replace", once)
        told = program.trained(
            max_train_steps=6, save_every_n_steps=2, sample_every_n_steps=2, save_state_every_n_steps=2
        )
    assert len(refused) == 3 and texts(told).count("No space left on device") == 3
    assert load_file(program.loras / "cat.safetensors")
