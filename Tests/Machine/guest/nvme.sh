# Scenario: DMA by NVMe controllers. nvme.py says what it is for, and looks from the host's side.

nv0=$(behind "$nv0_slot") nv1=$(behind "$nv1_slot") ivs=$(behind "$ivs_slot") nv2=$(behind "$nv2_slot")
pci=/sys/bus/pci
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

# place NAME: a memory as genpool-nvme and dma-proof call it.
place() {
  case $1 in
    cmb) echo "$nv0:cmb" ;;
    legacy) echo "$nv2:cmb" ;;
    pmr) echo "$nv1:pmr,erase=yes" ;;
    ivs) echo "$ivs:2" ;;
  esac
}

# range NAME: the first and the last address of a memory.
range() {
  case $1 in
    cmb) device=$nv0 row=3 ;;
    legacy) device=$nv2 row=3 ;;
    pmr) device=$nv1 row=5 ;;
    ivs) device=$ivs row=3 ;;
  esac
  awk "NR == $row { print \$1, \$2 }" $pci/devices/$device/resource
}

# neighbours: two memories, the second of which starts where the first one ends, and a controller that
# owns neither.
neighbours() {
  for memory in cmb legacy pmr; do
    for behind in cmb legacy pmr ivs; do
      set -- $(range $memory) $(range $behind)
      [ $(($2 + 1)) = $(($3)) ] || continue
      case $memory$behind in
        *pmr*cmb* | *cmb*pmr*) echo $memory $behind nv2 ;;
        *pmr*) echo $memory $behind nv0 ;;
        *) echo $memory $behind nv1 ;;
      esac
      return
    done
  done
}

# state BDF: what opening a device changes.
state() {
  device=$pci/devices/$1
  echo "override $(cat $device/driver_override), command $(command_register "$1"), enable $(cat $device/enable)"
}
states() { for device in $nv0 $nv1 $ivs $nv2; do echo "$device: $(state $device)"; done; }
before=$(states)

# shows BDF FILTER...: what genpoolctl prints of a controller has all these lines.
shows() {
  device=$1
  shift
  genpoolctl nvme show "$device" --allow hotplug > /run/shown || return 1
  for filter; do grep -qE "$filter" /run/shown || { echo "no $filter"; return 1; }; done
}
check "genpoolctl says that nv0 hides its buffer until it is asked" \
  shows "$nv0" 'version +NVMe 1.4' 'CMBMSC.CRE'
check "asked, it is 64 MiB, and not for completion queues" \
  sh -c "genpoolctl nvme show $nv0 --probe --allow hotplug --json > /host/probed.json"
check "nv2's buffer of the 1.2 scheme is shown without asking" \
  shows "$nv2" 'BAR 2, from 0x0 on, 16 MiB long' 'cannot hold +completion queues'
check "nv1's persistent memory region is shown, not enabled" \
  shows "$nv1" 'persistent memory region' 'BAR 4, from 0x0 on, 16 MiB long' 'enabled +no'
check "looking has changed nothing" equal "$(states)" "$before"

# The first line is the queue's, which is the first to be allocated.
set -- $(range cmb)
check "the example in C divides nv0's buffer, from its first byte on" \
  sh -c "nvme-memory-c $nv0 hotplug > /run/in-c && head -n 1 /run/in-c | grep -q 'bus $1$'"
check "the one in Swift says the same" \
  sh -c "nvme-memory $nv0 hotplug > /run/in-swift && cmp /run/in-c /run/in-swift"
check "neither has changed anything" equal "$(states)" "$before"

# prove NAME VERB INITIATOR MEMORY OPTION...: dma-proof, whose facts the host reads as NAME.json.
prove() {
  name=$1 verb=$2 initiator=$3 memory=$4
  shift 4
  eval initiator=\$$initiator
  dma-proof "$verb" --allow hotplug --seed "$seed" --initiator "$initiator" \
    --memory "$(place "$memory")" "$@" > "/host/$name.json"
}

for pair in $arrivals; do
  initiator=${pair%:*} memory=${pair#*:}
  check "a page of $initiator's DMA arrives in $memory, and the poison around it stays" \
    prove "arrival-$initiator-$memory" arrival "$initiator" "$memory"
  stop "arrival-$initiator-$memory"
done

check "$rounds times nv1's queue, lists and data come from the CMB of nv0, and go back" \
  prove churn-nv1-cmb churn nv1 cmb --rounds "$rounds" --content /host/content
dd if=/host/content of=/tmp/blank bs=1M count=1 2>/dev/null
check "nv0 gets the blocks that nv1 has" \
  sh -c "genpool-nvme write $nv0 --lba 0 --in /tmp/blank --allow hotplug 2>/dev/null"
check "200 times nv0's queue, lists and data come from its own CMB, and go back" \
  prove churn-nv0-cmb churn nv0 cmb --rounds 200 --content /host/content

check "nv1 writes blocks out of the CMB of nv0, where its queue and list are as well" \
  sh -c "genpool-nvme write $nv1 --lba $write_lba --in /host/payload --queues $nv0:cmb \
    --lists $nv0:cmb --data $nv0:cmb --verify --allow hotplug --json > /host/write-nv1-cmb.json"
stop write-nv1-cmb
for memory in ivs pmr; do
  check "nv0 reads blocks into $memory" \
    sh -c "genpool-nvme read $nv0 --lba $read_lba --blocks $blocks --out /dev/null \
      --data $(place $memory) --allow hotplug --json > /host/read-nv0-$memory.json"
  stop "read-nv0-$memory"
done

set -- $(neighbours)
check "one page past the end of $1 is $2, which starts there" \
  prove "end-$1-$2" past-end "$3" "$1" --neighbour "$(place $2)"
stop "end-$1-$2"
check "nv0 refuses a command with a page of its own CMB and one of the host's" \
  prove mixed-nv0-cmb mixed nv0 cmb
check "nv1 takes the same two pages" prove mixed-nv1-cmb mixed nv1 cmb

# ended STATUS WORDS: how the driver did; and it has stopped its controller.
ended() {
  equal "$1 $(cat /run/said)" "1 genpool-nvme: $2" && shows "$nv1" 'state +disabled .CC.EN., not ready'
}
mkfifo /run/data
# reading: a driver in the middle of its work, whose data nobody takes; its pipe is open as 9.
reading() {
  genpool-nvme read "$nv1" --lba 0 --blocks 8192 --out /run/data --allow hotplug 2> /run/said &
  driver=$!
  exec 9< /run/data
  head -c 1 <&9 > /dev/null
}
for signal in INT QUIT; do
  reading
  kill -$signal $driver
  cat <&9 > /dev/null
  exec 9<&-
  wait $driver
  status=$?
  check "SIG$signal ends a driver between two commands, its controller stopped" \
    ended $status "interrupted by signal $(kill -l $signal) and stopped between two commands"
done
reading
exec 9<&-
wait $driver
status=$?
check "a reader that goes away ends a driver, its controller stopped" \
  ended $status "write /run/data: Broken pipe"

# Before that it is a program like any other.
mkfifo /run/input
genpool-nvme write "$nv1" --lba 0 --in /run/input --allow hotplug 2> /run/said &
exec 9> /run/input
kill -TERM $!
exec 9>&-
wait $!
check "SIGTERM ends a driver that still waits for its data at once" equal "$? $(cat /run/said)" "143 "

check "a completion queue does not go into a CMB whose registers do not say so" \
  fails_with 1 'cannot keep completion queues there' \
  genpool-nvme identify "$nv0" --completions "$nv0:cmb" --allow hotplug
check "a persistent memory region is not used unless erase=yes is said" \
  fails_with 1 "say erase=yes" genpool-nvme identify "$nv0" --data "$nv1:pmr" --allow hotplug
check "after all that every device is as it was" equal "$(states)" "$before"

# The same memories leased by the daemon, wherever the registers say that they are.
export GENPOOL_SOCKET=/run/genpool.sock
check "the daemon takes nobody's persistent memory without erase=yes, by name" \
  fails_with 1 'persistent' genpoold --socket $GENPOOL_SOCKET --attach "$nv1:pmr,name=pmr,allow=hotplug"
check "nor by its BAR" \
  fails_with 1 'persistent' genpoold --socket $GENPOOL_SOCKET --attach "$nv1:4,name=pmr,allow=hotplug"
genpoold --socket $GENPOOL_SOCKET --attach "$nv0:cmb,name=cmb,allow=hotplug" \
  --attach "$nv1:pmr,name=pmr,erase=yes,allow=hotplug" 2> /host/genpoold.log & daemon=$!
check "the daemon attaches a controller memory buffer and a persistent memory region" \
  within 10 sh -c "genpoolctl pool list --json 2>/dev/null | grep -c '\"active\"' | grep -qx 2"
for pool in cmb pmr; do
  check "a lease of $pool reads back what was written to it" \
    sh -c "genpoolctl lease acquire --pool $pool --size 64K --fill-from /host/leased --dump-to /tmp/dump >/dev/null && cmp /tmp/dump /host/leased"
  genpoolctl lease acquire --pool $pool --size 64K --fill-from /host/leased --hold \
    --json > /host/leased-$pool.json 2>/dev/null & holder=$!
  within 10 grep -q isolation /host/leased-$pool.json
  stop "lease-$pool"
  kill $holder
  wait $holder
done
kill $daemon
wait $daemon
check "the daemon gives them back: every device is as it was" equal "$(states)" "$before"

echo 0 > $pci/drivers_autoprobe
load nvme || exit 2
echo "$nv0" > $pci/drivers/nvme/bind || exit 2
check "a controller with a driver is refused, and the driver is named" \
  fails_with 1 'driver nvme is bound' genpool-nvme identify "$nv0" --allow hotplug
check "genpoolctl shows it by what its driver says, and what cannot be known" \
  shows "$nv0" 'driver +nvme, which calls it nvme' 'model +QEMU NVMe Ctrl' 'serial +cmb0' \
  'its registers were not'
check "its driver finds a controller in order" \
  within 20 sh -c "grep -q live $pci/devices/$nv0/nvme/nvme*/state"
check "the kernel had nothing to complain of" \
  sh -c '! dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace"'

[ $failures = 0 ]
