"""The stand-alone page's small txt2img panel, with the element ids of A1111's so that the same scripts serve both."""

from __future__ import annotations

import secrets
from typing import Any

import gradio as gr
from PIL.Image import Image

from ..errors import TrainLoraError
from ..hosts.base import Host, PictureRequest
from ..settings.schema import Settings, size_of
from . import gradio_compat


def panel(host: Host, start: Settings) -> None:
    """Prompt, a few settings, the picture and the LoRA cards. It begins with the size, steps and CFG of `start`."""
    with gr.Row():
        with gr.Column(scale=3):
            prompt = gr.Textbox(label="Prompt", lines=3, elem_id="txt2img_prompt", placeholder="<lora:name:1> words")
            negative = gr.Textbox(label="Negative prompt", lines=1, elem_id="txt2img_neg_prompt")
            numbers = _numbers(start)
            button = gr.Button("Generate", variant="primary", elem_id="txt2img_generate")
            gradio_compat.html('<div id="train-lora-cards">LoRA cards</div>', "train_lora_cards_frame")
        with gr.Column(scale=2):
            shown = gr.Image(label="Picture", elem_id="txt2img_gallery", interactive=False, format="png")
            gradio_compat.html('<div id="image_buttons_txt2img"></div>', "train_lora_image_buttons_frame")
            used = gr.Markdown("", elem_id="txt2img_seed_used")
    button.click(lambda *values: _generate(host, *values), [prompt, negative, *numbers], [shown, used])


def _numbers(start: Settings) -> list[Any]:
    size = size_of(start.data.resolution)[0]
    with gr.Row():
        width = gr.Number(label="Width", value=size, precision=0, minimum=8)
        height = gr.Number(label="Height", value=size, precision=0, minimum=8)
        steps = gr.Number(
            label="Steps", value=start.saving.sample_steps, precision=0, minimum=1, elem_id="txt2img_steps"
        )
        cfg = gr.Number(label="CFG", value=start.saving.sample_cfg, minimum=0)
        seed = gr.Number(label="Seed (-1: random)", value=-1, precision=0, elem_id="txt2img_seed")
    return [width, height, steps, cfg, seed]


def _generate(host: Host, prompt: str, negative: str, *numbers: float) -> tuple[Image, str]:
    width, height, steps, cfg, seed = numbers
    seed = secrets.randbelow(2**32) if seed < 0 else int(seed)
    request = PictureRequest(
        prompt=prompt,
        negative=negative,
        width=max(8, round(width / 8) * 8),
        height=max(8, round(height / 8) * 8),
        steps=int(steps),
        cfg=float(cfg),
        seed=seed,
    )
    try:
        return host.txt2img(request)[0], f"Seed: {seed}"
    except TrainLoraError as error:
        raise gr.Error(str(error)) from error
