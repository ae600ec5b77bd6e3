"""What `geosr superres SCENE OUTPUT.tif` does, in Python."""

import sys

import geosr


def main(source: str, target: str) -> None:
    """Super-resolve one scene with the bundled nets."""
    for outcome in geosr.superres(source, target):
        print(f"{outcome.output}: {outcome.status} in {outcome.seconds:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
