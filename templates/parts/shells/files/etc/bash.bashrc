# /etc/bash.bashrc of a jail: interactive shells read it.

[ -z "${PS1-}" ] && return

shopt -s checkwinsize
PS1='\u@\h:\w\$ '
