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
    keep_tokens_separator: Annotated[
        str,
        _o(
            "Keep separator",
            "Text in a caption, such as `|||`: tags before it stay in place, also those behind a second one. Where a "
            "caption has it, it counts instead of the number above.",
        ),
    ] = ""
    secondary_separator: Annotated[
        str, _o("Group separator", "Such as `;;`: tags joined by it are shuffled and dropped together.")
    ] = ""
    caption_prefix: Annotated[str, _o("Put before", "Begins every caption; never shuffled or dropped as a tag.")] = ""
    caption_suffix: Annotated[str, _o("Put behind", "Ends every caption; never shuffled or dropped as a tag.")] = ""
    enable_wildcard: Annotated[
        bool,
        _o(
            "Wildcards",
            "`{red|blue}` becomes one of its parts at each use, a caption of several lines one of its lines.",
        ),
    ] = False
    weighted_captions: Annotated[
        bool,
        _o(
            "Weighted captions",
            "`(word:1.2)`, `(word)` and `[word]` in captions weigh words as in prompts; a bracket moves as one tag.",
        ),
    ] = False
    caption_dropout_rate: Annotated[
        float, _o("Drop captions", "Share of samples trained without a caption.", ge=0, le=1, advice=(0, 0.2))
    ] = 0.0
    caption_dropout_every_n_epochs: Annotated[
        int, _o("Epochs without captions", "Every N-th epoch is trained without captions; 0: none.", ge=0)
    ] = 0
    caption_tag_dropout_rate: Annotated[
        float, _o("Drop tags", "Chance of each tag (after the kept ones) to be left out.", ge=0, le=1, advice=(0, 0.3))
    ] = 0.0
    token_warmup_step: Annotated[
        float,
        _o(
            "Tag warm-up",
            "Captions begin with their first tags and have all after so many steps; below 1 a share of the run.",
            unit="steps",
            ge=0,
        ),
    ] = 0.0
    token_warmup_min: Annotated[int, _o("Tags at first", "How many tags warm-up begins with.", ge=0)] = 1
    caption_rule: Annotated[
        Literal["tidy", "sd-scripts"],
        _o("Caption rule", "How captions are put together: without stray separators, or as sd-scripts does it."),
    ] = "tidy"
    max_token_length: Annotated[Literal[75, 150, 225], _o("Longest caption", "Longer ones are cut.", unit="tokens")] = (
        225
    )
