"""Networks: what they need, how they are built, and where their weights are.

`card` says all that others must know of a net, `design` makes cards and says how nets are trained,
`registry` lists every net by name, `nets` holds one module per architecture (`guided`, `single`,
`multi`: by what a net is given), `weights` loads and saves, `fetch` downloads. `receptive_field`
and `memory` measure a net. `onnx` runs and writes ONNX files, `convert` reads weights of other
programs.
"""
