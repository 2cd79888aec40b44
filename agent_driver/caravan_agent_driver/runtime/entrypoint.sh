#!/bin/sh
# The first program of a kernel's container. As root it makes the user `work` known and gives up root; as that user it
# takes the environment from /home/config and becomes the startup script, or waits until the session is destroyed.
# Nothing here evaluates a value: what a user wrote is data until it is the user's own process that reads it.
set -u
config=/home/config
self=/opt/kernel/entrypoint.sh

say() { printf 'entrypoint: %s\n' "$1" >&2; }

# Prints the value of a variable of environ.txt that must be a number other than 0.
number_of() {
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        "$1"=*)
            value=${line#*=}
            case $value in '' | 0* | *[!0-9]*) break ;; esac
            printf '%s\n' "$value"
            return 0
            ;;
        esac
    done <"$config/environ.txt"
    say "$config/environ.txt has no usable $1"
    return 1
}

# Prints the name that has the numeric ID $2 in the passwd or group file $1; fails when none has.
name_of() {
    while IFS=: read -r name _ id _; do
        if [ "$id" = "$2" ]; then
            printf '%s\n' "$name"
            return 0
        fi
    done <"$1" 2>/dev/null
    return 1
}

make_user_known() {
    name_of /etc/group "$gid" >/dev/null || printf 'work:x:%s:\n' "$gid" >>/etc/group
    name_of /etc/passwd "$uid" >/dev/null ||
        printf 'work:x:%s:%s:work:/home/work:/bin/sh\n' "$uid" "$gid" >>/etc/passwd
} 2>/dev/null

become_user() {
    uid=$(number_of LOCAL_USER_ID) && gid=$(number_of LOCAL_GROUP_ID) || exit 125
    make_user_known
    if [ -x /opt/kernel/su-exec ]; then
        exec /opt/kernel/su-exec "$uid:$gid" /bin/sh "$self" as-user
    elif setpriv --reuid="$uid" --regid="$gid" --clear-groups true 2>/dev/null; then
        exec setpriv --reuid="$uid" --regid="$gid" --clear-groups /bin/sh "$self" as-user
    elif chroot --userspec="$uid:$gid" --groups="" / /bin/sh -c : 2>/dev/null; then
        exec chroot --userspec="$uid:$gid" --groups="" / /bin/sh "$self" as-user
    elif name=$(name_of /etc/passwd "$uid") && su -m -s /bin/sh "$name" -c : 2>/dev/null; then
        exec su -m -s /bin/sh "$name" -c "exec /bin/sh $self as-user"
    fi
    say "the image has no setpriv, chroot --userspec or su that works"
    exit 126
}

wait_forever() {
    trap 'exit 0' TERM INT
    while :; do
        sleep 86400 &
        wait "$!"
    done
}

is_mounted() {
    while read -r _ _ _ _ point _; do
        [ "$point" = "$1" ] && return 0
    done </proc/self/mountinfo
    return 1
}

# The agent mounts folders outside of /home/work when it sees that root was given up: nothing of root's lies behind them.
wait_for_mounts() {
    tries=0
    while IFS= read -r target || [ -n "$target" ]; do
        until is_mounted "$target"; do
            tries=$((tries + 1))
            if [ "$tries" -gt 900 ]; then
                say "nobody mounted $target"
                exit 125
            fi
            sleep 0.05 2>/dev/null || sleep 1
        done
    done <"$config/mounts.txt"
}

# A kernel of several waits until all are up: the agent then puts an empty file `released` beside barrier.txt, which says
# for how many seconds.
wait_for_others() {
    read -r seconds <"$config/barrier.txt"
    left=$((seconds * 10))
    until [ -e "$config/released" ]; do
        if [ "$left" -le 0 ]; then
            say "not all kernels of the session were up within $seconds seconds"
            exit 125
        fi
        if sleep 0.1 2>/dev/null; then left=$((left - 1)); else sleep 1 && left=$((left - 10)); fi
    done
}

# The environment becomes arguments of env(1): no variable of this shell is touched, whatever its name.
# CARAVAN_LIBRARY_PATH, a driver's libraries, goes before the LD_LIBRARY_PATH of the user, or else that of the image.
run_as_user() {
    set --
    driver=""
    libraries=${LD_LIBRARY_PATH-}
    while IFS= read -r line || [ -n "$line" ]; do
        set -- "$@" "$line"
        case $line in
        CARAVAN_LIBRARY_PATH=*) driver=${line#*=} ;;
        LD_LIBRARY_PATH=*) libraries=${line#*=} ;;
        esac
    done <"$config/environ.txt"
    if [ -n "$driver" ]; then set -- "$@" "LD_LIBRARY_PATH=$driver${libraries:+:$libraries}"; fi
    if [ -f "$config/mounts.txt" ]; then wait_for_mounts; fi
    if [ -f "$config/barrier.txt" ]; then wait_for_others; fi
    # Only now: where the others are is written there as they begin.
    for file in "$config"/environ.d/*; do
        [ -f "$file" ] || continue
        value=$(cat "$file" && printf x)
        set -- "$@" "${file##*/}=${value%x}"
    done
    cd /home/work || exit 125
    if [ -f "$config/bootstrap.sh" ]; then
        env "$@" /bin/sh "$config/bootstrap.sh" || say "the bootstrap script ended with $?"
    fi
    [ -f "$config/startup.sh" ] && exec env "$@" /bin/sh "$config/startup.sh"
    wait_forever
}

if [ "${1-}" = as-user ] || [ "$(id -u)" != 0 ]; then
    run_as_user
else
    become_user
fi
