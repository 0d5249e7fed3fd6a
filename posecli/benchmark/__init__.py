"""Where the time goes on this machine: the stages of `posecli annotate` measured one by one."""
