nv0=$(behind "$nv0_slot") nv1=$(behind "$nv1_slot") ivs=$(behind "$ivs_slot") nv2=$(behind "$nv2_slot")
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
try() { echo "@@ $*"; "$@"; echo "-> $?"; }
n="genpool-nvme"
for d in host cmb:$nv0 bar:$ivs:2 pmr:$nv1,erase=yes cmb:$nv2; do
for c in $nv0 $nv1 $nv2; do
try $n identify $c --data $d --allow hotplug
done; done
try $n identify $nv0 --queues cmb:$nv0 --lists cmb:$nv0 --data cmb:$nv0 --allow hotplug
try $n identify $nv0 --completions cmb:$nv0 --allow hotplug
try $n identify $nv2 --queues cmb:$nv2 --data cmb:$nv2 --allow hotplug
try $n identify $nv1 --queues cmb:$nv0 --data cmb:$nv0 --completions bar:$ivs:2 --allow hotplug --json
dd if=/dev/urandom of=/tmp/x bs=64k count=16 2>/dev/null
try $n write $nv1 --lba 8 --in /tmp/x --queues cmb:$nv0 --data cmb:$nv0 --lists cmb:$nv0 --verify --allow hotplug
try $n read $nv1 --lba 8 --blocks 2048 --out /tmp/y --data bar:$ivs:2  --allow hotplug
cmp /tmp/x /tmp/y && echo SAME
dmesg | tail -5
