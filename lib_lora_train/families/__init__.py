"""Model families: how borrowed tensors become modules, and how text becomes conditioning."""
