"""Scores of images, from arrays to numbers.

`full_reference` compares with the truth, `no_reference` does without one, `lpips` is the learned
perceptual distance, `kelvins` scores by the rules of the Proba-V challenge.
"""
