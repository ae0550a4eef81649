"""Every option, declared once, and the ways recipes come in and go out."""
