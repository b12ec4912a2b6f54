# Scenarios: DMA through VFIO. iova.py says what they are for, and looks from the host's side.

nv0=$(behind "$nv0_slot") nv1=$(behind "$nv1_slot") ivs=$(behind "$ivs_slot") nv2=$(behind "$nv2_slot")
pci=/sys/bus/pci
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

# place NAME: a memory as dma-proof calls it.
place() {
  case $1 in
    cmb) echo "$nv0:cmb" ;;
    legacy) echo "$nv2:cmb" ;;
    pmr) echo "$nv1:pmr,erase=yes" ;;
    ivs) echo "$ivs:2" ;;
  esac
}

# prove NAME VERB INITIATOR MEMORY OPTION...: dma-proof, whose facts the host reads as NAME.json.
prove() {
  name=$1 verb=$2 initiator=$3 memory=$4
  shift 4
  eval initiator=\$$initiator
  dma-proof "$verb" --seed "$seed" --initiator "$initiator" --memory "$(place "$memory")" \
    --source "$source" "$@" > "/host/$name.json"
}

# arrive OPTION...: all arrivals, each looked at by the host.
arrive() {
  for pair in $arrivals; do
    initiator=${pair%:*} memory=${pair#*:}
    check "through $source a page of $initiator's DMA arrives in $memory, and the poison stays" \
      prove "arrival-$initiator-$memory" arrival "$initiator" "$memory" "$@"
    stop "arrival-$initiator-$memory"
  done
}

driver() { basename "$(readlink "$pci/devices/$1/driver" || echo none)"; }
state() {
  device=$pci/devices/$1
  echo "driver $(driver "$1"), override $(cat "$device/driver_override")"
}
states() { for device in $nv0 $nv1 $ivs $nv2; do echo "$device: $(state $device)"; done; }
before=$(states)
group=$(basename "$(readlink "$pci/devices/$nv1/iommu_group")")
domain=$(cat "/sys/kernel/iommu_groups/$group/type")

# Who drives a controller without VFIO uses bus addresses, where there is no translation.
source=sysfs
if [ "$iommu" = passthrough ]; then
  check "the kernel's domain passes addresses through" equal "$domain" identity
  arrive --allow hotplug
else
  check "the kernel's domain translates" equal "$domain" DMA
  check "so there is no address for a controller that is not VFIO's, and the cause is named" \
    fails_with 1 'translates \(DMA\).*genpoolctl device bind' \
    prove none arrival nv1 ivs --allow hotplug
fi

load vfio_pci && load vfio_iommu_type1 || exit 2
source=vfio
check "a controller that is not VFIO's is refused" \
  fails_with 1 'not vfio-pci' prove none arrival nv1 ivs
for device in $nv0 $nv1 $nv2 $ivs; do
  check "$device can be bound" genpoolctl device bind "$device"
done
arrive

initiator=${unmapped%:*} memory=${unmapped#*:}
check "$rounds times $initiator's queue, lists and data come from $memory by IOVAs, and go back" \
  prove "churn-$initiator-$memory" churn "$initiator" "$memory" \
  --rounds "$rounds" --content /host/content
check "a program in C is told by which IOVA nv1 reaches nv0's memory" iova-c "$nv1" "$nv0"
check "until here the IOMMU had nothing to stop" sh -c '! dmesg | grep "DMAR: .*fault"'
check "what is not mapped for $initiator is out of its reach" \
  prove unmapped unmapped "$initiator" "$memory"
# The kernel prints faults from a queue of its own.
sleep 1
dmesg > /host/dmesg.log
check "the kernel had nothing else to complain of" \
  sh -c '! grep -E "WARNING:|BUG:|Oops|Call Trace" /host/dmesg.log'
# From here on a fault is one too many.
dmesg -c > /dev/null

check "memory that is switched off is an error, not the end" \
  dma-proof memory-off --device "$ivs" --bar 2 --seed "$seed"

check "genpoolctl shows a controller of vfio-pci by what its registers say" \
  sh -c "genpoolctl nvme show $nv2 --probe > /run/shown &&
    grep -E 'version +NVMe' /run/shown && grep -E 'a list partly in it .CDPMLS.' /run/shown &&
    grep -F 'pool attach $nv2:cmb,source=vfio' /run/shown"

# A driver whose data nobody takes waits in the middle of its work.
mkfifo /run/data
genpool-nvme read "$nv1" --lba 0 --blocks 8192 --out /run/data --source vfio 2> /run/said &
process=$!
exec 9< /run/data
head -c 1 <&9 > /dev/null
echo "$nv1" > $pci/drivers/vfio-pci/unbind &
unbinding=$!
sleep 1
check "unbinding a controller waits for who drives it" kill -0 $unbinding
cat <&9 > /dev/null
exec 9<&-
wait $process
check "which ends, and says why, when the kernel wants the controller back" \
  equal "$? $(cat /run/said)" "1 genpool-nvme: the kernel wants $nv1 back; stopped between two commands"
wait $unbinding
check "so that the controller is unbound" equal "$? $(driver "$nv1")" "0 none"
echo "$nv1" > $pci/drivers/vfio-pci/bind

for device in $nv0 $nv1 $nv2 $ivs; do
  check "$device can be given back" genpoolctl device unbind "$device"
done
check "after all that every device is as it was" equal "$(states)" "$before"
check "the kernel had nothing to complain of" \
  sh -c '! dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace|DMAR: .*fault|callbacks suppressed"'

[ $failures = 0 ]
