# What systemd runs as checks.service.
. /lib.sh
(. /host/facts && . /scenario.sh)
status=$?
journalctl --no-pager -o short-monotonic > /host/journal.log 2>&1
leave $status
