# Tries what a genpoold that was taken over might try, and prints what it tried and what it could. The
# checks run it confined as the real one is, and by root unconfined: there all of it must be possible.
# It changes nothing that matters.
try() {
  name=$1
  shift
  echo "tried: $name"
  if "$@" > /dev/null 2>&1; then echo "could: $name"; fi
}
open_to_write() {
  true >> "$1"
}

# What it is there for.
try write-a-device open_to_write "/sys/bus/pci/devices/$2/enable"

for place in / /etc /usr/bin /var /run /run/genpool /run/systemd/system /sys/fs/cgroup; do
  try "create-in-$place" mkdir "$place/sandbox-$$"
done
for file in /etc/passwd /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/bus/pci/rescan \
  /sys/devices/system/cpu/cpu0/uevent /sys/devices/virtual/tty/console/uevent \
  /sys/kernel/mm/ksm/run /sys/module/printk/parameters/time; do
  try "write-$file" open_to_write $file
done
for node in /dev/mem /dev/port /dev/kmsg /dev/console; do
  try "see-$node" test -e $node
done
try see-other-processes test -d "/proc/$1"
mkdir -p /tmp/sandbox
try make-a-node mknod /tmp/sandbox/node-$$ c 1 1
try mount mount -t tmpfs none /tmp/sandbox
try make-a-namespace unshare -U true
# busybox's date reports a failure by its text alone.
try set-the-clock sh -c '! date -s @$(date +%s) 2>&1 | grep -q "not permitted"'
try set-the-name hostname "$(hostname)"
try read-the-kernel-log dmesg
try use-the-internet ifconfig lo
try have-a-higher-priority renice -n -1 -p $$
try become-root su root -c true
echo "ended"
