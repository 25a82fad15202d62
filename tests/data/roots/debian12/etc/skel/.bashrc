# Read by interactive shells.
PS1="\u@\h:\w\$ "
