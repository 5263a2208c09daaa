from ultramarine.supervision.policy import BACKOFF_MAX_S, BACKOFF_MIN_S, HEALTHY_RESET_S, HUNG_S, Act, Course, Phase


def test_a_part_that_never_ran_is_started_at_once():
    assert Course().act(0.0) is Act.START


def test_a_part_that_runs_needs_nothing():
    assert Course().started(1.0).act(500.0) is None
    assert Course().started(1.0).answered(2.0).act(3.0) is None


def test_each_failed_start_doubles_the_wait_up_to_five_seconds():
    course, waits = Course(), list[float]()
    for _ in range(8):
        course = course.started(10.0).ended(10.0)
        waits.append(round(course.next_start_at - 10.0, 3))
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert course.backoff_s == BACKOFF_MAX_S
    assert course.failed_starts == 8


def test_a_part_is_not_started_before_its_wait_is_over():
    course = Course().started(1.0).ended(2.0)
    assert course.act(2.05) is None
    assert course.act(2.1) is Act.START


def test_ready_for_thirty_seconds_a_part_is_trusted_again():
    course = Course(backoff_s=3.2).started(0.0).answered(1.0)
    assert course.answered(HEALTHY_RESET_S).backoff_s == 3.2
    assert course.answered(1.0 + HEALTHY_RESET_S).backoff_s == BACKOFF_MIN_S


def test_a_crash_loop_between_short_healthy_times_still_backs_off():
    course = Course()
    for now in (0.0, 10.0, 20.0):
        course = course.started(now).answered(now + 1).ended(now + 2)
    assert course.backoff_s == 0.8
    assert course.restarts == 3
    assert course.failed_starts == 0


def test_a_part_that_was_ready_and_is_long_silent_is_killed():
    course = Course().started(0.0).answered(1.0).silent()
    assert course.phase is Phase.NOT_ANSWERING
    assert course.act(HUNG_S) is None
    assert course.act(1.0 + HUNG_S) is Act.KILL


def test_a_part_that_is_still_starting_is_not_killed_for_its_silence():
    assert Course().started(0.0).silent().act(10_000.0) is None


def test_one_answer_after_silence_is_ready_again():
    assert Course().started(0.0).answered(1.0).silent().answered(2.0).phase is Phase.READY


def test_a_stopped_part_is_left_alone():
    assert Course().started(0.0).stopped().act(10_000.0) is None
