"""Pure writers: LoRA file, card, thumbnail."""
