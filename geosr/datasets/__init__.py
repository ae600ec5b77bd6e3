"""Ways of making training pairs: one module each."""
