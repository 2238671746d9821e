# What the steps of `make proof` have in common; sourced by them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf 'proof: %s\n' "$*" >&2; }

# Runs a command, and says how long it took.
timed() {
  local what=$1 begun=$SECONDS status=0
  shift
  say "$what"
  "$@" || status=$?
  say "$what: $((SECONDS - begun)) s$([ "$status" = 0 ] || echo ", failed with $status")"
  return "$status"
}
