import pytest

from app.sources import is_stream, mask_source, validate_source


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://admin:s3cret@10.0.0.7/live", "rtsp://admin:***@10.0.0.7/live"),
        ("rtsps://admin:s3cret@cam.example:322/live?x=1", "rtsps://admin:***@cam.example:322/live?x=1"),
        ("rtsp://admin:s3@cr/et@10.0.0.7/live", "rtsp://admin:***@10.0.0.7/live"),
        ("rtsp://admin:s3:cr#et@10.0.0.7/live", "rtsp://admin:***@10.0.0.7/live"),
        ("rtsp://s3cret@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://:s3cret@10.0.0.7/live", "rtsp://:***@10.0.0.7/live"),
        ("rtsp://10.0.0.7/live?user=admin&password=s3cret&ch=1", "rtsp://10.0.0.7/live?user=admin&password=***&ch=1"),
        ("rtsp://10.0.0.7/user=admin_password=s3cret_ch=1", "rtsp://10.0.0.7/user=admin_password=***"),
        ("rtsp://10.0.0.7/live?authToken=s3cret", "rtsp://10.0.0.7/live?authToken=***"),
        ("http://admin:s3cret@10.0.0.7/", "http://admin:***@10.0.0.7/"),
        ("rtsp://[fe80::1]:554/live", "rtsp://[fe80::1]:554/live"),
        ("/videos/door@night.mp4", "/videos/door@night.mp4"),
    ],
)
def test_mask_hides_the_password_and_nothing_of_use(source: str, shown: str) -> None:
    assert mask_source(source) == shown


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://10.0.0.7/live",
        "rtsp://admin:s%40cret@cam.example:8554/a/b?c=d",
        "rtsps://[fe80::1]:322/live",
        "/videos/door.mp4",
        "door at night.mp4",
        "videos/door@night:1.mp4",
    ],
)
def test_good_sources_are_accepted(source: str) -> None:
    validate_source(source)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "  ",
        "http://s3cret.example/x",
        "RTSP://s3cret.example/x",
        "file:///s3cret",
        "concat:s3cret|b",
        "subfile,,start,0,end,0,,:s3cret",
        "data:s3cret",
        "rtsp:///s3cret",
        "rtsp://host:99999/s3cret",
        "rtsp://host:s3cret/x",
        "rtsp://host:0/s3cret",
        "rtsp://[fe80::1/s3cret",
        "rtsp://user:s3cret/x@host/live",
        "rtsp://user:s3cret@x@host/live",
        "rtsp://host/s3 cret",
        "rtsp://host/s3cret\r\nX: y",
        " rtsp://host/s3cret",
        "rtsp://host/" + "s3cret" * 1000,
    ],
)
def test_bad_sources_are_refused_without_repeating_them(source: str) -> None:
    with pytest.raises(ValueError) as caught:
        validate_source(source)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_streams_are_told_from_files() -> None:
    assert is_stream("rtsp://a/b") and is_stream("rtsps://a/b")
    assert not is_stream("/rtsp/a.mp4")
