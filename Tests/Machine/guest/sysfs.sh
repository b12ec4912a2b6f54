# Scenario: real BARs through sysfs. sysfs.py says what it is for, and looks from the host's side.
# Its facts (slots, windows, patterns) are in /host/facts; what it leaves in /host the host reads.

nv0=$(behind "$nv0_slot") nv1=$(behind "$nv1_slot") ivs=$(behind "$ivs_slot") testdev=$testdev_slot
export GENPOOL_SOCKET=/run/genpool.socket
pci=/sys/bus/pci

# nv1 gets its driver, nv0 gets none, and nothing is set on it that could hide an incomplete undo.
echo 0 > $pci/drivers_autoprobe
load nvme || exit 2
echo "$nv1" > $pci/drivers/nvme/bind || exit 2
echo 1 > $pci/drivers_autoprobe

# The controller memory buffer around the window, and the window's first bytes, are poisoned; then
# the device is left with memory space and bus mastering off, so that opening it must change that.
printf '\002\000' | dd of=$pci/devices/$nv0/config bs=2 seek=2 conv=notrunc 2>/dev/null
bar=$(awk 'NR == 3 { print $1 }' $pci/devices/$nv0/resource)
place=0
for word in $cmb_margin; do
  for start in $((cmb_offset - 64)) "$cmb_offset" $((cmb_offset + cmb_size)); do
    devmem $((bar + start + place)) 64 "$word" || exit 2
  done
  place=$((place + 8))
done
printf '\000\000' | dd of=$pci/devices/$nv0/config bs=2 seek=2 conv=notrunc 2>/dev/null

nv0_before=$(state "$nv0")
testdev_before=$(state "$testdev")
check "the controller with the memory buffer starts out disabled" \
  equal "$nv0_before" "override (null), command 0000, enable 0"

# Devices and the daemon

check "genpoolctl lists the devices without a daemon" \
  sh -c "genpoolctl device list --json > /host/devices.json"

genpoold --attach "$ivs:2,offset=$ivs_offset,size=$ivs_size,name=ivs,allow=hotplug" \
  2> /host/genpoold.log &
daemon=$!
check "genpoold attaches a window of ivshmem's memory" \
  within 20 sh -c "kill -0 $daemon && genpoolctl pool show ivs --json > /host/ivs-pool.json"
[ $failures = 0 ] || exit 2  # Without it the rest would only wait for what cannot come.

# Refusals: each names its cause and nothing else.

cmb="$nv0:2,offset=$cmb_offset,size=$cmb_size,name=cmb"
disk="$nv1:cmb,allow=hotplug"
check "a device in a hot-plug slot is refused unless allowed" \
  refused hotplug 'slot' genpoolctl pool attach "$cmb"
check "a BAR whose device has a driver is refused, and the driver is named" \
  refused driver-bound 'driver nvme is bound' genpoolctl pool attach "$disk"
check "genpoold itself ends when it may not attach" \
  refused driver-bound 'driver nvme is bound' genpoold --socket /run/second.socket --attach "$disk"
check "a BAR with ports instead of memory is refused" \
  refused not-memory 'I/O' genpoolctl pool attach "$testdev:1"
check "a BAR that is not prefetchable is refused unless allowed" \
  refused not-prefetchable 'BAR 0' genpoolctl pool attach "$testdev:0"
check "a second genpoold waits for a BAR that the first one holds" \
  waits "$ivs:2,offset=12M,size=1M,name=other,allow=hotplug" 'another genpool process has it open'
check "after the refusals the controller is as it was" equal "$(state "$nv0")" "$nv0_before"

check "genpoolctl attaches a window of the controller's memory buffer" \
  genpoolctl pool attach "$cmb,allow=hotplug"
check "that has enabled the controller, and kept drivers off" \
  equal "$(state "$nv0")" "override genpool, command 0002, enable 1"
check "no driver can be bound to it now" \
  fails_with 1 'No such device' sh -c "echo $nv0 > $pci/drivers/nvme/bind"

# Leases

# options NAME POOL SIZE ALIGNMENT: of a lease that gets its pattern and is read back.
options() {
  echo "--pool $2 --size $3 --align $4 --fill-from /host/$1.pattern --dump-to /run/$1.dump --json"
}

# hold NAME POOL SIZE ALIGNMENT: acquires such a lease in the background and goes on holding it.
hold() {
  genpoolctl lease acquire $(options "$@") --hold > "/host/$1.json" 2> "/host/$1.log" &
  echo $! > "/run/$1.pid"
  check "the $1 lease reads back what was written to it" \
    within 20 cmp -s "/host/$1.pattern" "/run/$1.dump"
}

hold nudge ivs 4K 4K
hold small ivs 64K 64K
hold large ivs 2M 2M
hold cmb-nudge cmb 4K 4K
hold cmb cmb 64K 64K
hold killed ivs 64K 4K
check "a lease that is not held is acquired, filled, read and released at once" \
  genpoolctl lease acquire $(options released ivs 64K 4K)
check "it reads back what was written to it" cmp /host/released.pattern /run/released.dump

# The socket is open to root and the group genpool; here to everyone, for the next checks.
chmod 666 $GENPOOL_SOCKET

# leases NUMBER: so many are held, and the pool's pages are accounted for.
leases() {
  genpoolctl lease list --json > /run/leases.json
  [ "$(grep -o '"lease"' /run/leases.json | wc -l)" = "$1" ]
}
check "the list has the six leases that are held" within 10 leases 6
check "another user detaches nothing, by the admin socket" \
  fails_with 1 'admin socket is for root' su other -c "genpoolctl pool detach cmb"
check "another user gets nothing of a BAR that this one's descriptors reach" \
  fails_with 75 'uid 0' su other -c "genpoolctl lease acquire --pool ivs --size 4K --fill 1"
kill -9 "$(cat /run/killed.pid)"
check "a killed holder's lease is taken back" within 10 leases 5
available=$((ivs_size - 4096 - 65536 - 2097152))
check "all that is not held is clean and available again" within 20 sh -c \
  "genpoolctl pool show ivs --json | grep -Eq '\"available\" *: *$available\\b'"

# The kernel's list of mappings, for the host to compare.
mount -t debugfs debugfs /sys/kernel/debug && cp /sys/kernel/debug/x86/pat_memtype_list /host/ || exit 2
stop held

# The undo: by detaching, and by ending the daemon.

check "a pool with leases cannot be detached" fails_with '75' '' genpoolctl pool detach cmb
for name in cmb-nudge cmb; do
  pid=$(cat /run/$name.pid)
  kill -TERM "$pid"
  wait "$pid"
  check "the holder of the $name lease ends with status 0" equal $? 0
done
check "without leases it can" within 10 genpoolctl pool detach cmb
check "after that the controller is as it was" equal "$(state "$nv0")" "$nv0_before"
echo "$nv0" > $pci/drivers/nvme/bind
check "and its driver can be bound again" test -d "$pci/drivers/nvme/$nv0"

genpoold --socket /run/second.socket --attach "$testdev:2,offset=1M,size=1M,name=test" \
  2> /host/second.log &
second=$!
check "a second genpoold attaches a BAR of its own" \
  within 20 genpoolctl pool show test --socket /run/second.socket
kill -TERM $second
wait $second
check "told to end it ends with status 0" equal $? 0
check "and leaves no socket" test ! -e /run/second.socket -a ! -e /run/second.socket.admin
check "and leaves its device as it was" equal "$(state "$testdev")" "$testdev_before"

check "the kernel had nothing to complain of" \
  sh -c '! dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace"'

# The leases on ivshmem are held to the end: the host looks into its backing file afterwards.
[ $failures = 0 ]
