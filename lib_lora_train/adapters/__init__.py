"""What hangs on the borrowed modules and is trained."""
