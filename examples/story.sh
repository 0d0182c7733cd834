#!/bin/bash
# The whole story on a tiny engine: build a set of plugins, serve with it, change it, go back.
#
# It writes below this checkout only: vpm-env into .venv, everything else into .story. Run it as often as you like;
# the first run fetches build tools from the package index.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
story=$root/.story
python=${PYTHON:-python3}

say() { printf '\n# %s\n' "$*"; }
run() { printf '$ %s\n' "$*" && "$@"; }
expect() { # expect ANSWER COMMAND...: run it, and stop the story when it answers anything else
    local wanted=$1 answer
    shift
    printf '$ %s\n' "$*"
    answer=$("$@")
    printf '%s\n' "$answer"
    [ "$answer" = "$wanted" ] || { printf 'story: expected: %s\n' "$wanted" >&2; exit 1; }
}
set_of() { # set_of PLUGIN...: write the config that asks for these
    printf 'plugins:\n' >"$story/plugins.yaml"
    printf '  - name: %s\n    source: local\n    path: ../examples/%s\n' $(for name; do printf '%s %s ' "$name" "$name"; done) \
        >>"$story/plugins.yaml"
    run cat .story/plugins.yaml
}

# What is left of the story before, its caches apart; a set is read-only, its directories are not.
if [ -e "$story" ]; then
    find "$story" -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +
fi
mkdir -p "$story/cache"

# Settings of the user stay outside the story; where packages come from does not.
for name in $(compgen -e VPM_ENV_) VLLM_PLUGIN_CONFIG VLLM_PLUGIN_REGISTRY_DIR VIRTUAL_ENV CONDA_PREFIX PYTHONPATH; do
    unset "$name"
done
export PIP_CACHE_DIR=$story/cache/pip UV_CACHE_DIR=$story/cache/uv PIP_DISABLE_PIP_VERSION_CHECK=1
export VPM_ENV_HOME=$story/home VPM_ENV_BASE=$story/engine VPM_ENV_CONFIG=$story/plugins.yaml

if [ ! -x .venv/bin/vpm-env ]; then
    say "vpm-env lives in an environment of its own"
    [ -x .venv/bin/python ] || run "$python" -m venv .venv
    run .venv/bin/python -m pip install --quiet --editable .
fi
export PATH=$root/.venv/bin:$PATH
engine=.story/engine/bin/tiny-engine

say "an engine, as it stands in an image: vpm-env never writes into it, but for the start-up hook"
run "$python" -m venv .story/engine
run .story/engine/bin/python -m pip install --quiet ./examples/tiny-engine
run vpm-env hook install
expect "hello" "$engine" hello

say "a first set: one plugin"
set_of plugin-shout
run vpm-env build
expect "HELLO!" "$engine" hello

say "another set: a plugin more"
set_of plugin-shout plugin-reverse
run vpm-env build
expect "OLLEH!" "$engine" hello

say "the set before: no network, no resolver, no rebuild"
run vpm-env rollback
expect "HELLO!" "$engine" hello

say "an undo stays undone: a build of the same input does not bring the second set back"
run vpm-env build
expect "HELLO!" "$engine" hello

say "one process with another set; the bare engine"
expect "OLLEH!" vpm-env run --generation 2 -- tiny-engine hello
expect "hello" env VPM_ENV_DISABLE=1 "$engine" hello

say "where we are"
run vpm-env status
run vpm-env list
run vpm-env history
run vpm-env verify

say "the story is over; it is in .story, and \`rm -rf .story\` forgets it"
