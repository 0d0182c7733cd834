# What `vpm-env shell` lets fish read behind your own configuration: what makes the set win.
set -gx VIRTUAL_ENV $VPM_ENV_SHELL
set -gx VIRTUAL_ENV_PROMPT $VPM_ENV_SHELL_NAME
if test "$PATH[1]" != "$VPM_ENV_SHELL/bin"
    set -gx PATH $VPM_ENV_SHELL/bin $PATH
end
if status is-interactive
    functions --copy fish_prompt vpm_env_outer_prompt
    function fish_prompt
        printf '(%s) ' $VPM_ENV_SHELL_NAME
        vpm_env_outer_prompt
    end
end
