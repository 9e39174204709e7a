#!/usr/bin/env bash
# What a second core brings, on a machine without cores to spare: every serving thread of the gateway
# gets PERCENT of a core and no more, so that the generator and the upstream are never what is full.
#
#   benches/load/share.sh THREADS PERCENT PROGRAM
#
# PROGRAM is the comparison's own (`cargo bench --locked --bench load --no-run` names it). Takes root and
# a cpu controller of cgroup v1 at /sys/fs/cgroup/cpu.
set -euo pipefail
threads="$1" percent="$2" program="$3"

group() { echo "/sys/fs/cgroup/cpu/difygate-share-$1"; }
for ((thread = 0; thread < threads; thread++)); do
    mkdir -p "$(group "$thread")"
    echo 20000 >"$(group "$thread")/cpu.cfs_period_us"
    echo $((percent * 200)) >"$(group "$thread")/cpu.cfs_quota_us"
done

"$program" --bench --peers difygate --only "64 connections, 60 B" --threads "$threads" --seconds 3 &
load=$!
serving() { # Whether a gateway has its last thread.
    local pid
    for pid in $(pgrep -f 'difygate serve'); do
        cat "/proc/$pid/task"/*/comm 2>/dev/null | grep -qx "serve-$((threads - 1))" && return
    done
    return 1
}
until serving; do
    sleep 0.05
done
gateway="$(pgrep -f 'difygate serve' | tail -1)"
for task in "/proc/$gateway/task"/*; do
    name="$(cat "$task/comm")"
    case "$name" in
        serve-*) basename "$task" >"$(group "${name#serve-}")/tasks" ;;
    esac
done
wait "$load"
for ((thread = 0; thread < threads; thread++)); do
    rmdir "$(group "$thread")"
done
