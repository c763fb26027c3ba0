from workers.patience import Backoff


def test_waits_grow_to_the_cap_with_full_jitter() -> None:
    waits = []
    for _ in range(200):
        backoff = Backoff(first=1.0, cap=30.0)
        waits.append([backoff.next() for _ in range(12)])
    for step in range(12):
        ceiling = min(30.0, 1.5**step)
        column = [row[step] for row in waits]
        assert 0 <= min(column) < 0.2 * ceiling and 0.8 * ceiling < max(column) <= ceiling


def test_a_well_camera_begins_anew() -> None:
    backoff = Backoff(first=1.0, cap=30.0)
    for _ in range(12):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1.0


def test_the_wait_never_outgrows_the_cap() -> None:
    backoff = Backoff(first=1.0, cap=30.0)
    assert max(backoff.next() for _ in range(5000)) <= 30.0


def test_a_camera_that_may_lock_an_account_is_tried_seldom() -> None:
    backoff = Backoff(first=1.0, cap=30.0)
    assert all(15.0 <= backoff.longest() <= 30.0 for _ in range(200))
