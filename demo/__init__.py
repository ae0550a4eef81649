"""What the stand-alone demo runs on."""
