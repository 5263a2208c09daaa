"""What a PUT answers: 201 for a new thing, 200 for one that was there."""

from fastapi import Response


def answer(response: Response, *, is_new: bool) -> None:
    response.status_code = 201 if is_new else 200
