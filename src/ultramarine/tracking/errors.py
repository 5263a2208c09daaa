"""What can go wrong between us and MLflow."""

from ultramarine.domain.errors import Unavailable


class TrackingUnavailable(Unavailable):
    """MLflow does not answer, or answers that it cannot."""

    title = "Tracking does not answer"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"MLflow does not answer: {why}.",
            hint="It is restarted by itself: ask again in a few seconds. If this stays, read its log in the home.",
        )
