"""Weights of words in captions, written as in prompts: `(word:1.2)`, `(word)`, `[word]`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from .loan import Loan, Tokenizer
from .text import RUN, rows_of, rows_of_ids

_STEP = 1.1  # what a pair of round brackets multiplies by, square ones divide by
_MARKS = re.compile(
    r"\\(?P<plain>[()\[\]\\])|(?P<open>[(\[])|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)|(?P<close>[)\]])"
)


def parse(text: str) -> list[tuple[str, float]]:
    """Pieces of a caption with their weights, neighbours of equal weight joined; [("", 1)] for nothing.

    A backslash makes a bracket plain text; a bracket that is never closed counts to the end, one that was never opened
    is text. Source: the syntax of A1111's prompts (golden 03_weighted_captions).
    """
    pieces: list[tuple[str, float]] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(bracket: str, factor: float) -> None:
        start = opened[bracket].pop()
        pieces[start:] = [(piece, weight * factor) for piece, weight in pieces[start:]]

    at = 0
    for mark in _MARKS.finditer(text):
        pieces.append((text[at : mark.start()], 1.0))
        at, bracket = mark.end(), {")": "(", "]": "["}.get(mark["close"] or mark[0][-1], "")
        if mark["open"]:
            opened[mark["open"]].append(len(pieces))
        elif mark["plain"] or not opened[bracket]:
            pieces.append((mark["plain"] or mark[0], 1.0))
        else:
            usual = _STEP if bracket == "(" else 1 / _STEP
            weigh(bracket, float(mark["weight"]) if mark["weight"] else usual)
    pieces.append((text[at:], 1.0))
    for bracket, factor in (("(", _STEP), ("[", 1 / _STEP)):
        while opened[bracket]:
            weigh(bracket, factor)
    return _joined(pieces)


def _joined(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    joined: list[tuple[str, float]] = []
    for piece, weight in pieces:
        if piece and joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + piece, weight)
        elif piece:
            joined.append((piece, weight))
    return joined or [("", 1.0)]


def weighted_rows(tokenizer: Tokenizer, captions: Sequence[str], max_token_length: int) -> tuple[Tensor, Tensor]:
    """(rows as `text.rows_of` of the captions without their marks, weights [B, n * 75 + 2] float32 of the joined
    states). Begin, end and padding weigh 1."""
    count = max_token_length // RUN
    ids, weights = [], torch.ones(len(captions), count * RUN + 2)
    for number, caption in enumerate(captions):
        tokens = [(token, weight) for piece, weight in parse(caption) for token in tokenizer.encode(piece)]
        kept = tokens[: count * RUN]
        ids.append([token for token, _ in kept])
        weights[number, 1 : 1 + len(kept)] = torch.tensor([weight for _, weight in kept])
    return rows_of_ids(tokenizer, ids, count), weights


def rows_with_weights(
    loan: Loan, number: int, captions: Sequence[str], max_token_length: int, weighted: bool
) -> tuple[Tensor, Tensor | None]:
    """For text encoder `number` of the loan, on its device; no weights when captions are not `weighted`."""
    tokenizer = loan.tokenizers[number]
    if not weighted:
        return rows_of(tokenizer, captions, max_token_length).to(loan.device), None
    rows, weights = weighted_rows(tokenizer, captions, max_token_length)
    return rows.to(loan.device), weights.to(loan.device)


def weighed(states: Tensor, weights: Tensor | None) -> Tensor:
    """[B, N, C] times [B, N], not renormalised (golden README, section 3)."""
    return states if weights is None else states * weights[..., None].to(states.dtype)
