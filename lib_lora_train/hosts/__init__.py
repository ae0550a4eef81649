"""The web UIs: where the tensors are, who owns the lock, where files go."""
