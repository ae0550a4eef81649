"""The tab: a frame in gradio, filled by our own script."""
