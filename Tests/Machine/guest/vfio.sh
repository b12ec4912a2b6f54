# Scenario: memory through VFIO. vfio.py says what it is for, and looks from the host's side.
# Its facts (slots, windows, patterns) are in /host/facts; what it leaves in /host the host reads.

nv0=$(behind "$nv0_slot") nv1=$(behind "$nv1_slot") ivs=$(behind "$ivs_slot")
export GENPOOL_SOCKET=/run/genpool.socket
pci=/sys/bus/pci

driver() {
  basename "$(readlink "$pci/devices/$1/driver" || echo none)"
}

# What binding changes.
state() {
  echo "driver $(driver "$1"), override $(cat $pci/devices/$1/driver_override)"
}

# refused_by RULE TEXT VERB OPTIONS...: `device bind` or `unbind` prints that it is this rule that forbids it.
refused_by() {
  rule=$1 text=$2
  shift 2
  fails_with 1 "$text" genpoolctl device "$@" || return 1
  equal "$(echo "$said" | sed -n 's/^refused by \([a-z-]*\): .*/\1/p' | tr '\n' ' ')" "$rule "
}

# nv1 gets its driver and is swapped to, the others get none.
echo 0 > $pci/drivers_autoprobe
load nvme || exit 2
echo "$nv1" > $pci/drivers/nvme/bind || exit 2
echo 1 > $pci/drivers_autoprobe
within 10 sh -c "test -b /dev/nvme?n1" || exit 2
disk=$(echo /dev/nvme?n1)
mkswap "$disk" > /dev/null && swapon "$disk" || exit 2

poison_controller_memory() {
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
}
poison_controller_memory

genpoolctl device list --json > /host/devices.json

# Binding

check "without vfio-pci a device cannot be bound to it" \
  refused_by no-such-driver 'modprobe vfio-pci' bind "$ivs"
load vfio_pci && load vfio_iommu_type1 || exit 2

nv1_before=$(state "$nv1") ivs_before=$(state "$ivs")
check "a disk that is swapped to is not taken away" \
  refused_by in-use ' swap' bind "$nv1"
check "not even by who mistypes its ids" \
  refused_by force-mismatch '1b36:0011' bind "$nv1" --force 1b36:0011
check "a bridge is not taken away" refused_by bridge 'is a bridge' bind "$nv0_slot"
check "a dry run says what would be done" \
  sh -c "genpoolctl device bind $ivs --dry-run | grep -q \"echo '$ivs' > /sys/bus/pci/drivers_probe\""
check "and does not do it" equal "$(state "$ivs")" "$ivs_before"
check "nor one that nobody bound by unbinding it" \
  refused_by not-bound 'it has driver nvme' unbind "$nv1"
check "refusals have changed nothing" equal "$(state "$nv1")" "$nv1_before"
swapoff "$disk"

# Mounted where this shell's /proc/self/mountinfo does not show it.
mke2fs -F "$disk" > /dev/null 2>&1 && mkdir -p /mnt || exit 2
load crc32c_generic && load ext4 || exit 2
unshare -m sh -c "mount -t ext4 $disk /mnt && touch /run/mounted && exec sleep 100" &
elsewhere=$!
within 10 test -e /run/mounted || exit 2
check "a mount in another namespace does not show here" sh -c "! grep -q $disk /proc/self/mountinfo"
check "yet a disk that is mounted there is not taken away" \
  refused_by in-use "$(basename "$disk") opened exclusively" bind "$nv1"
kill $elsewhere
wait $elsewhere

check "when nobody uses it it can be bound" within 10 genpoolctl device bind "$nv1"
check "it has the driver then" equal "$(state "$nv1")" "driver vfio-pci, override vfio-pci"
check "unbinding gives it back" genpoolctl device unbind "$nv1"
check "its driver is what it was" equal "$(state "$nv1")" "$nv1_before"
check "unbinding it again is refused" refused_by not-bound 'it has driver nvme' unbind "$nv1"
within 10 test -b "$disk" || exit 2
check "a released device has no driver" within 10 genpoolctl device release "$nv1"
echo "$nv1" > $pci/drivers_probe
check "nor does the kernel's search give it one" \
  equal "$(state "$nv1")" "driver none, override none"
check "sysfs needs no more" sh -c "! genpoolctl device show $nv1 | grep -q 'refused by driver-bound'"
check "unbinding gives a released device back" genpoolctl device unbind "$nv1"
check "as it was before" equal "$(state "$nv1")" "$nv1_before"
within 10 test -b "$disk" || exit 2
check "binding to a driver that does not take it fails" \
  fails_with 1 'the kernel has bound no driver' genpoolctl device bind "$nv1" --driver pcieport
check "and gives it back" equal "$(state "$nv1")" "$nv1_before"
check "of which nothing is remembered" refused_by not-bound 'it has driver nvme' unbind "$nv1"

# Devices and the daemon

ivs_pool="$ivs:2,offset=$ivs_offset,size=$ivs_size,name=ivs,source=vfio"
check "a device that is not VFIO's cannot be attached through it" \
  refused not-vfio-pci 'driver none' genpoold --socket /run/second.socket --attach "$ivs_pool"
check "ivshmem can be bound" genpoolctl device bind "$ivs"
check "then the doctor says that memory can be mapped" \
  sh -c "genpoolctl doctor --json > /host/doctor.json"
check "and how it is attached" grep -q "genpoolctl pool attach $ivs:2,source=vfio" /host/doctor.json
genpoold --attach "$ivs_pool" 2> /host/genpoold.log &
daemon=$!
check "genpoold attaches a window of ivshmem's memory, in a hot-plug slot" \
  within 20 sh -c "kill -0 $daemon && genpoolctl pool show ivs --json > /host/ivs-pool.json"
[ $failures = 0 ] || exit 2  # Without it the rest would only wait for what cannot come.
check "the pool says that it is VFIO's, uncached, and that its removal waits" sh -c \
  "genpoolctl pool show ivs --json | tr -d ' \n' | grep -q '\"caching\":\"uncached\".*\"removal\":\"waits\".*\"source\":\"vfio\"'"
check "a second genpoold waits for the device" \
  waits "$ivs:2,offset=12M,size=1M,name=other,source=vfio" \
  'another process has the group open, or still maps memory of a device of it'
check "nor can it have it through sysfs" \
  fails_with 1 'driver vfio-pci has claimed the memory' \
  genpoold --socket /run/second.socket --attach "$ivs:2,offset=12M,size=1M,name=other,allow=hotplug"
check "ivshmem's registers are too small to be mapped" \
  refused partial-page 'whole pages' genpoolctl pool attach "$ivs:0,allow=not-prefetchable,source=vfio"
check "the controller can be bound" genpoolctl device bind "$nv0"
echo on > "$pci/devices/$nv0/power/control"  # vfio-pci lets what nobody uses sleep.
check "bound to vfio-pci its memory can be attached through sysfs as well" genpoolctl pool attach \
  "$nv0:2,offset=$cmb_offset,size=$cmb_size,name=files,allow=hotplug"
check "it is not given back then: a mapping of that kind is not taken back" \
  fails_with 1 'a genpool process has memory of it open through sysfs; detach its pools first' \
  genpoolctl device unbind "$nv0"
check "it has its driver still" equal "$(driver "$nv0")" vfio-pci
check "the pool can be detached" genpoolctl pool detach files
echo auto > "$pci/devices/$nv0/power/control"
check "genpoolctl attaches a window of its memory buffer" \
  genpoolctl pool attach "$nv0:2,offset=$cmb_offset,size=$cmb_size,name=cmb,source=vfio"
check "another pool of the device would be in reach of the same descriptors" \
  fails_with 1 'pool cmb has a part of this BAR, and a descriptor reaches all of it' \
  genpoolctl pool attach "$nv0:2,offset=8M,size=1M,name=other,source=vfio"
check "its registers are no memory, whatever is allowed" \
  refused registers 'BAR 0' genpoolctl pool attach "$nv0:0,allow=not-prefetchable,source=vfio"

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
check "a lease that is not held is acquired, filled, read and released at once" \
  genpoolctl lease acquire $(options released ivs 64K 4K)
available=$((ivs_size - 4096 - 65536 - 2097152))
check "all that is not held is clean and available again" within 20 sh -c \
  "genpoolctl pool show ivs --json | grep -Eq '\"available\" *: *$available\\b'"

# The kernel's list of mappings, for the host to compare.
mount -t debugfs debugfs /sys/kernel/debug && cp /sys/kernel/debug/x86/pat_memtype_list /host/ || exit 2
stop held

# Removal

stop unplug
check "the device is gone" test ! -e "$pci/devices/$ivs"
for name in nudge small large; do
  wait "$(cat /run/$name.pid)"
  check "the holder of the $name lease has ended" equal $? 1
  check "and said why" grep -q 'was revoked: device .* is being removed' "/host/$name.log"
done
check "its pool is gone" within 10 sh -c '! genpoolctl pool show ivs 2>/dev/null'
check "the other one is not" genpoolctl pool show cmb

check "unbinding takes a leased device from the daemon and its clients, too" \
  genpoolctl device unbind "$nv0"
check "it has no driver, as before" equal "$(state "$nv0")" "driver none, override (null)"
for name in cmb-nudge cmb; do
  wait "$(cat /run/$name.pid)"
  check "the holder of the $name lease has ended" equal $? 1
done

# A holder that misuses what it holds.

check "the controller can be bound again" genpoolctl device bind "$nv0"
check "and attached again" \
  genpoolctl pool attach "$nv0:2,offset=$cmb_offset,size=$cmb_size,name=again,source=vfio"
check "a holder can switch the device's memory off" \
  genpoolctl lease acquire --pool again --size 4K -- dma-proof switch-off
check "the daemon survives it, and revokes the pool" within 10 sh -c \
  "genpoolctl pool show again | grep -q 'revoked: .*no answer'"
kill -TERM $daemon
wait $daemon
check "told to end the daemon ends with status 0" equal $? 0

check "the kernel had nothing to complain of" \
  sh -c '! dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace|DMAR: .*fault"'

[ $failures = 0 ]
