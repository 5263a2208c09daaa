"""What each rank is started with, and how the ranks of several nodes start together."""

from tests.runner.conftest import World, entry, make_spec


def test_two_nodes_start_together_once_both_are_ready(world: World):
    tokens = [world.runner(f"e1-a-{node}") for node in range(2)]
    keys = ["e1-j1-1-0", "e1-j1-1-1"]
    command = "echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $NODE_RANK $MASTER_ADDR:$MASTER_PORT"
    specs = [
        make_spec(command, nodes=2, node_rank=node, processes_per_node=2, distribution="pytorch") for node in range(2)
    ]
    for token, key, spec in zip(tokens, keys, specs, strict=True):
        world.control.want(token, {key: {"phase": "prepare", "grace_s": 2, "spec": spec}})
    ready = [world.control.phase(key, "ready") for key in keys]
    assert [world.control.log(key, str(rank)) for key in keys for rank in range(4)] == [""] * 8
    master = {"address": ready[0]["address"], "port": ready[0]["port"]}
    for token, key in zip(tokens, keys, strict=True):
        world.control.want(token, {key: {"phase": "go", "master": master}})
    assert [world.control.ended(key)["cause"] for key in keys] == ["completed"] * 2
    where = f"127.0.0.1:{master['port']}"
    lines = [world.control.log(keys[rank // 2], str(rank)).strip() for rank in range(4)]
    assert lines == [f"{rank}/4 {rank % 2}/2 {rank // 2} {where}" for rank in range(4)]


def test_a_run_that_is_only_prepared_starts_nothing_and_stops_at_once(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "echo never", phase="prepare")
    assert world.control.phase("e1-j1-1", "ready")["port"] > 0
    world.control.want(token, {"e1-j1-1": {"phase": "stop"}})
    assert world.control.ended("e1-j1-1", within_s=5)["words"] == "Stopped before it had started."
    assert world.control.log("e1-j1-1") == ""


def test_a_phase_does_not_go_backwards(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "echo on; exec sleep 1000")
    world.control.wait(lambda: world.control.log("e1-j1-1"))
    world.control.want(token, {"e1-j1-1": {"phase": "stop"}})
    world.control.wait(lambda: world.control.reported[token]["etag"] == "2", words="it has heard that")
    world.control.want(token, {"e1-j1-1": {"phase": "go"}})
    assert world.control.ended("e1-j1-1")["cause"] == "stopped"
    world.control.want(token, {"e1-j1-1": {"phase": "go"}, "e1-j2-1": entry("true")})
    world.control.ended("e1-j2-1")
    assert world.control.log("e1-j1-1").count("on") == 1


def test_a_rank_sees_its_own_variables_and_none_of_the_runner(world: World):
    token = world.runner(gpus=["GPU-1", "GPU-2"])
    world.go(
        token,
        "e1-j1-1",
        "env",
        name="cancer-01",
        environment_variables={"WHERE": "{{folder}}", "ULTRAMARINE_RUN_KEY": "mine"},
        secret_variables={"MLFLOW_TRACKING_TOKEN": "{{not filled}}"},
    )
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    variables = dict(line.split("=", 1) for line in world.control.log("e1-j1-1").splitlines())
    assert variables["AZUREML_RUN_ID"] == "cancer-01"
    assert variables["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
    assert variables["WHERE"] == str(world.folder / "e1-a-1-0" / "runs" / "e1-j1-1" / "code")
    assert variables["MLFLOW_TRACKING_TOKEN"] == "{{not filled}}"
    assert (variables["ULTRAMARINE_RUN_KEY"], variables["ULTRAMARINE_RANK"]) == ("e1-j1-1", "0")
    assert not {"RANK", "PYTEST_CURRENT_TEST", "PYTHONPATH"} & set(variables)


def test_a_gpu_that_is_told_by_its_number_is_the_one_that_the_node_was_given(world: World):
    token = world.runner(gpus=["5", "7"])
    world.control.want(token, {"e1-j1-1": entry("echo $CUDA_VISIBLE_DEVICES", gpus=["#1"])})
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert world.control.log("e1-j1-1") == "7\n"
    world.control.want(token, {"e1-j2-1": entry("true", gpus=["#2"])})
    assert "the node was given 2" in world.control.ended("e1-j2-1")["words"]


def test_a_program_that_does_not_exist_is_named_in_the_log(world: World):
    token = world.runner()
    spec = make_spec(None, argv=["/no/such/program"])
    world.control.want(token, {"e1-j1-1": {"phase": "go", "spec": spec}})
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], ended["code"]) == ("exited", 127)
    assert "/no/such/program cannot be started: No such file or directory." in ended["tail"]


def test_a_rank_that_dies_by_a_signal_is_reported_with_it(world: World):
    token = world.runner()
    world.go(token, "e1-j1-1", "kill -SEGV $$")
    ended = world.control.ended("e1-j1-1")
    assert (ended["cause"], ended["signal"], ended["words"]) == ("exited", "SIGSEGV", "Rank 0 was ended by SIGSEGV.")


def test_a_master_port_that_was_taken_is_not_the_fault_of_the_user(world: World):
    token = world.runner()
    world.go(
        token,
        "e1-j1-1",
        'echo "The server socket has failed to listen. port: $MASTER_PORT, code: -98, name: EADDRINUSE"; exit 1',
        distribution="pytorch",
    )
    assert world.control.ended("e1-j1-1")["cause"] == "port"
