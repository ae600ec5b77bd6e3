"""What was sensed: bands of one place on native grids, and what their counts mean.

`pixels` are counts and what they are worth, `quality` says which are clear, `band` is one in its
file, `note` what a user should know, `scene` holds scenes and the reader of their pixels,
`radiometry` turns counts into reflectance and back, `fill` bridges gaps, `correlation` tells where
one image lies in another, `frames` chooses and
registers several acquisitions of one place, `degrade` gives the coarser image that a sensor would
have taken, `pointspread` says how wide each band sees, `estimation` reads that off a scene, and
`degraded` is a whole scene so seen.
"""
