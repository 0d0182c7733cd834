# What `vpm-env shell` lets zsh read first: your own .zshenv. An interactive zsh comes back here for .zshrc.
vpm_env_files=$ZDOTDIR
if [[ -n $VPM_ENV_ZDOTDIR ]]; then
    ZDOTDIR=$VPM_ENV_ZDOTDIR
else
    unset ZDOTDIR
fi
unset VPM_ENV_ZDOTDIR
if [[ -f ${ZDOTDIR:-$HOME}/.zshenv ]]; then
    source ${ZDOTDIR:-$HOME}/.zshenv
fi
if [[ -o interactive ]]; then
    vpm_env_zdotdir=$ZDOTDIR
    ZDOTDIR=$vpm_env_files
fi
