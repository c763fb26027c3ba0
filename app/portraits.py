"""Two public-domain portraits that ship inside well-known wheels: real faces for the demo and for measurements."""

from pathlib import Path

from app.packages import PackageFile, take

PORTRAITS = {
    # Eileen Collins, NASA, public domain; PNG, 512x512.
    "Eileen Collins": PackageFile(
        "pypi",
        "scikit-image",
        "0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        ("manylinux_2_28_x86_64",),
    ),
    # Grace Hopper, US Navy, public domain; JPEG, 512x600.
    "Grace Hopper": PackageFile(
        "pypi",
        "matplotlib",
        "3.11.2",
        "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
        ("manylinux_2_17_x86_64",),
    ),
}


def portraits(cache: Path) -> dict[str, bytes]:
    """Return the encoded pictures by the person's name; the packages are fetched into `cache` once.

    Raises:
        SetupError: a package cannot be fetched or is not the pinned one.
    """
    return {name: take(picture, cache) for name, picture in PORTRAITS.items()}
