#!/bin/sh
# The first program of a machine that has control groups of version 2 alone. It sets up each way in which somebody may
# come to have one, and says what a runner finds there. ROOT: the repository, PYTHON: its interpreter, TESTS: those run, with commas between.
export HOME=/run TMPDIR=/run PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
cd "$ROOT" || exit 1
all=/sys/fs/cgroup

say() { # what a runner finds, and that a process of a run of 20 MiB is killed when it takes 60
    "$PYTHON" -m tests.runner.found "$1"
}
enter() { # puts the shell that calls it, and what it starts from then on, into a group
    sh -c 'echo $PPID' >"$all/$1/cgroup.procs"
}
marked() { # a group as systemd makes it with Delegate=yes
    mkdir -p "$all/$1"
    "$PYTHON" -c "import os, sys; os.setxattr(sys.argv[1], 'trusted.delegate', b'1')" "$all/$1"
}

(say root)
echo "+cpu +memory +pids" >$all/cgroup.subtree_control
(mkdir $all/plain && enter plain && say plain)
(
    marked delegated && enter delegated
    sleep 1000 & # another program of that service
    say delegated && say again
)
(marked split && mkdir $all/split/main && enter split/main && say subgroup)
(
    mkdir $all/container && enter container
    unshare --cgroup --mount sh -c "umount $all && mount -t cgroup2 cgroup $all && $PYTHON -m tests.runner.found container"
)
(
    mkdir $all/given && chown -R 1000 $all/given && enter given
    setpriv --reuid 1000 --clear-groups "$PYTHON" -m tests.runner.found user
)
(
    marked tests && enter tests
    ULTRAMARINE_TEST_LOCK=/run/lock "$PYTHON" -m pytest -q -p no:cacheprovider --color=no --timeout 300 $(echo "$TESTS" | tr , ' ')
)
poweroff -f
