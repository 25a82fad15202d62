syntax on
set tabstop=4
set number
