"""Routes of the queue; each answers with the queue as it is then."""

from __future__ import annotations

from typing import Any

from .desk import Ask, Desk, Handler


def listing(desk: Desk, ask: Ask) -> dict[str, Any]:
    return desk.runner.queue.as_dict()


def add(desk: Desk, ask: Ask) -> dict[str, Any]:
    desk.runner.queue.add(ask.settings(), ask.values.get("confirm_overwrite") is True)
    return listing(desk, ask)


def remove(desk: Desk, ask: Ask) -> dict[str, Any]:
    desk.runner.queue.remove(ask.text("id"))
    return listing(desk, ask)


def move(desk: Desk, ask: Ask) -> dict[str, Any]:
    desk.runner.queue.move(ask.text("id"), ask.number("place", 0))
    return listing(desk, ask)


def again(desk: Desk, ask: Ask) -> dict[str, Any]:
    desk.runner.queue.again(ask.text("id"))
    return listing(desk, ask)


def start(desk: Desk, ask: Ask) -> dict[str, Any]:
    desk.runner.queue.start()
    return listing(desk, ask)


def hold(desk: Desk, ask: Ask) -> dict[str, Any]:
    desk.runner.queue.hold()
    return listing(desk, ask)


GET: dict[str, Handler] = {"queue": listing}
POST: dict[str, Handler] = {
    "queue/add": add,
    "queue/remove": remove,
    "queue/move": move,
    "queue/again": again,
    "queue/start": start,
    "queue/hold": hold,
}
