"""`pytest -p plugin` with this folder on the path: the tests find a graphics card."""

import pretended

pretended.let_borrow()
