"""From a scene to its super-resolved bands.

`request` is what a user wants, `arguments` refuses what means nothing; `superres` is the whole
line; what it calls, in order: `plan` (bands, grids and tiles), `binding` (which nets on what),
`tiles` (where they lie), `strips` (read, cut, predict, blend, a row of tiles at a time), `predict`
(a net on a device), `blend` (seams), `consistency` (make the output agree with the input),
`selfcheck` (measure whether it does).
`prefetch` reads ahead and writes behind, `backoff` tries again with less where memory runs out,
`inspect` says what a run would take, `heap` keeps freed memory for the next pass.
"""
