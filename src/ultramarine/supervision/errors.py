"""Why an installation cannot be started."""


class CannotStart(Exception):
    """Nothing was started. `str` says what and why, `hint` what to type next."""

    def __init__(self, text: str, *, hint: str) -> None:
        super().__init__(text)
        self.hint = hint
