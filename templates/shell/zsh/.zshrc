# What `vpm-env shell` lets zsh read second: your own .zshrc, then what makes the set win.
if [[ -n $vpm_env_zdotdir ]]; then
    ZDOTDIR=$vpm_env_zdotdir
else
    unset ZDOTDIR
fi
if [[ $HISTFILE == $vpm_env_files/* ]]; then
    HISTFILE=${ZDOTDIR:-$HOME}/.zsh_history
fi
unset vpm_env_files vpm_env_zdotdir
if [[ -f ${ZDOTDIR:-$HOME}/.zshrc ]]; then
    source ${ZDOTDIR:-$HOME}/.zshrc
fi
export VIRTUAL_ENV=$VPM_ENV_SHELL VIRTUAL_ENV_PROMPT=$VPM_ENV_SHELL_NAME
if [[ $path[1] != $VPM_ENV_SHELL/bin ]]; then
    path=($VPM_ENV_SHELL/bin $path)
fi
export PATH
rehash
PROMPT="($VPM_ENV_SHELL_NAME) $PROMPT"
