"""Options of names and captions."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section
from .section import option as _o


class Naming(Section):
    """Name and words"""

    output_name: Annotated[str, _o("Name", "File name of the LoRA; in prompts `<lora:name:1>`.")] = "my_lora"
    output_folder: Annotated[
        str, _o("Sub-folder", "Folder inside the web UI's LoRA folder; sub-folders become buttons of the card panel.")
    ] = ""
    trigger_word: Annotated[
        str, _o("Trigger word", "The activation tag that calls the concept; also used for thumbnail and card.")
    ] = ""
    activation_text: Annotated[
        str, _o("Activation text", "Written on the card and inserted with it; empty means the trigger word.")
    ] = ""
    preferred_weight: Annotated[
        float, _o("Preferred weight", "Weight the card inserts; 0 means the web UI's default.", advice=(0.5, 1.0))
    ] = 0.0
    training_comment: Annotated[str, _o("Notes", "Travel inside the file and on the card.")] = ""


class CaptionSettings(Section):
    """Captions"""

    caption_mode: Annotated[
        Literal["files", "none", "phrase", "folder"],
        _o(
            "Captions from",
            "files: `.txt` beside the picture, else the concept folder's name; none: empty (the LoRA always acts); "
            "phrase: one for all; folder: the concept folder's name.",
        ),
    ] = "files"
    caption_phrase: Annotated[
        str, _o("Phrase", "Caption of every picture in mode `phrase`; empty: the trigger word.")
    ] = ""
    caption_extension: Annotated[
        str, _o("Caption files", "Extension; `.caption` and `picture.jpg.txt` are found too.")
    ] = ".txt"
    caption_separator: Annotated[str, _o("Separator", "Between tags.", min_length=1)] = ","
    shuffle_caption: Annotated[bool, _o("Shuffle tags", "New order of tags in every epoch.")] = False
    keep_tokens: Annotated[
        int, _o("Keep first tags", "The first N tags stay in place when shuffling.", ge=0, advice=(0, 5))
    ] = 0
    caption_dropout_rate: Annotated[
        float, _o("Drop captions", "Share of samples trained without a caption.", ge=0, le=1, advice=(0, 0.2))
    ] = 0.0
    caption_tag_dropout_rate: Annotated[
        float, _o("Drop tags", "Chance of each tag (after the kept ones) to be left out.", ge=0, le=1, advice=(0, 0.3))
    ] = 0.0
    max_token_length: Annotated[Literal[75, 150, 225], _o("Longest caption", "Longer ones are cut.", unit="tokens")] = (
        225
    )
