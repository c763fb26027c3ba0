import threading
from datetime import UTC, datetime

import numpy as np

from app.types import Frame
from app.vision.picture import ArrayPicture
from workers.mailbox import Mailbox


def frame(index: int) -> Frame:
    return Frame("cam-1", index, datetime.now(UTC), float(index), ArrayPicture(np.zeros((4, 6, 3), np.uint8)))


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    mailbox = Mailbox(threading.Event())
    assert mailbox.take() is None
    for index in range(5):
        mailbox.put(frame(index))
    newest = mailbox.take()
    assert newest is not None and newest.index == 4
    assert mailbox.take() is None
    assert mailbox.dropped == 4
    mailbox.put(frame(5))
    mailbox.take()
    assert mailbox.dropped == 4


def test_one_event_wakes_for_every_mailbox_and_no_frame_is_overlooked() -> None:
    ready = threading.Event()
    boxes = [Mailbox(ready) for _ in range(3)]
    last = [-1, -1, -1]
    count = 2000

    def fill(box: Mailbox) -> None:
        for index in range(count):
            box.put(frame(index))

    threads = [threading.Thread(target=fill, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    taken = 0
    while last != [count - 1] * 3:
        assert ready.wait(10)
        ready.clear()
        for number, box in enumerate(boxes):
            newest = box.take()
            if newest is not None:
                assert newest.index > last[number]
                last[number] = newest.index
                taken += 1
    for thread in threads:
        thread.join()
    assert taken + sum(box.dropped for box in boxes) == 3 * count
