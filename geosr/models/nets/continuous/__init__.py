"""Nets that make one image finer by any factor: one encoder, and decoders asked at any place."""
