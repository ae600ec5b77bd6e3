"""One module per architecture, by what a net is given.

`guided`: fine bands sharpen coarse ones; `single`: one image; `multi`: several images of one
place; `spectral`: few bands tell more.
`bicubic` is the one for the first two that learns nothing.
"""
