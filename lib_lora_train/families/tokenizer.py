"""CLIP's tokenizers: our own, built in memory from OpenAI's vocabulary, and a wrapper for a host's."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

_VOCABULARY = Path(__file__).parent / "clip_vocab" / "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2  # lines of the file that CLIP uses
_SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipTokenizer:
    """CLIP's byte-pair tokenizer. Source: OpenAI's CLIP (MIT, licence beside the vocabulary)."""

    def __init__(self, pad: int | None = None) -> None:
        """`pad` None: the end token (CLIP-L); SD2's and SDXL's second tokenizer pad with 0."""
        self._tokenizer = _build()
        self.bos, self.eos = (self._tokenizer.token_to_id(word) for word in _SPECIAL)
        self.pad = self.eos if pad is None else pad

    def encode(self, text: str) -> list[int]:
        """Token ids without begin, end or padding, uncut."""
        return self._tokenizer.encode(text).ids


class HostTokenizer:
    """A Hugging Face CLIP tokenizer that the host has loaded."""

    def __init__(self, tokenizer: Any, pad: int | None = None) -> None:
        self._tokenizer = tokenizer
        self.bos, self.eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.pad = self.eos if pad is None else pad

    def encode(self, text: str) -> list[int]:
        """Token ids without begin, end or padding, uncut."""
        return list(self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)


def vocabulary() -> tuple[list[str], list[tuple[str, str]]]:
    """(words in the order of their ids, begin and end last; merges in the order of their rank)."""
    lines = gzip.decompress(_VOCABULARY.read_bytes()).decode("utf-8").split("\n")
    merges = [(first, second) for first, second in map(str.split, lines[1 : _MERGES + 1])]
    letters = _byte_letters()
    words = letters + [f"{letter}</w>" for letter in letters] + ["".join(pair) for pair in merges] + _SPECIAL
    return words, merges


def _byte_letters() -> list[str]:
    """The 256 letters that stand for bytes, in the vocabulary's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def _build() -> Tokenizer:
    words, merges = vocabulary()
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(
        models.BPE(ids, merges, unk_token=_SPECIAL[1], continuing_subword_prefix="", end_of_word_suffix="</w>")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens(_SPECIAL)
    return tokenizer
