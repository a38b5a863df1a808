# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the shell scripts share; source it first. Goes to the repository's root, and there stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

command_name=${0##*/}

# The comment at the top of the calling script is its help text.
usage() {
  awk 'NR > 2 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "scripts/$command_name"
}

# die MESSAGE [STATUS]
die() {
  printf '%s: %s\n' "$command_name" "$1" >&2
  exit "${2:-1}"
}

# wrong_call ARGUMENT
wrong_call() {
  die "what is '$1'? See scripts/$command_name --help" 2
}

# need_root WHAT-FOR
need_root() {
  ((EUID == 0)) || die "must run as root to $1: sudo scripts/$command_name" 3
}

# step TITLE LOG COMMAND...: runs the command with its output in build/logs/LOG.log, prints one line
# with its time, and the output only when it fails.
step() {
  local title=$1 log=build/logs/$2.log start=$SECONDS status=0
  shift 2
  mkdir -p build/logs
  printf '%-44s' "$title"
  "$@" </dev/null >"$log" 2>&1 || status=$?
  if ((status == 0)); then
    printf 'ok     %5d s\n' $((SECONDS - start))
    return
  fi
  printf 'FAILED %5d s\n' $((SECONDS - start))
  cat "$log" >&2
  return "$status"
}

# Root's builds belong to whoever the work tree belongs to, who may want to go on building in them.
give_back_build() {
  if ((EUID == 0)) && [[ -d build ]]; then
    chown -R --no-dereference --reference=. build
  fi
}
