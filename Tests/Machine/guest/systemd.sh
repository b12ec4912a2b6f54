# Scenario: the product as an administrator installs it, on a Debian with systemd and udevd. systemd.py
# says what it is for, and plugs devices out and in when it is asked to.

nv0=$(behind "$nv0_slot") ivs=$(behind "$ivs_slot") testdev=$testdev_slot
unit=genpoold.service configuration=/etc/genpool/genpoold.json
units=/usr/local/lib/systemd/system

# property NAME: of the service, as systemd knows it.
property() {
  systemctl show --value --property "$1" $unit
}

# logged TEXT: the daemon, or systemd of it, has said so since the last `begin`.
begin() {
  since=$(journalctl --no-pager --lines 0 --show-cursor | sed -n 's/^-- cursor: //p')
}
logged() {
  journalctl --no-pager --output cat --unit $unit --after-cursor "$since" > /run/logged
  grep -E "$1" /run/logged || { tail -n 5 /run/logged; return 1; }
}

# pools NAME...: exactly these are there, and active.
pools() {
  got=$(genpoolctl pool list --json | awk -F'"' '
    $2 == "name" { name = $4 }
    $2 == "state" { print name, $4 }' | sort | xargs)
  wanted=
  for name in "$@"; do wanted="$wanted $name active"; done
  equal "$got" "${wanted# }"
}

states() {
  echo "$(state "$nv0"); $(state "$ivs")"
}

echo  # systemd leaves the console in the middle of a line

# How make install says it goes on, and what Debian's packages do.

check "systemd finds no fault with the installed units" \
  equal "$(systemd-analyze verify --man=no $units/genpoold.* $units/genpoold-admin.socket $units/genpool.target 2>&1)" ""
check "udevadm finds no fault with the installed rules" \
  udevadm verify --no-summary /usr/local/lib/udev/rules.d/70-genpool.rules
check "the groups are made" \
  sh -c 'systemd-sysusers genpool.conf && grep -q ^genpool: /etc/group && grep -q ^genpool-admin: /etc/group'
check "the socket's directory is made" \
  sh -c 'systemd-tmpfiles --create genpool.conf && [ "$(stat -c %a:%U /run/genpool)" = 755:root ]'
check "udevd and systemd take up the new rules and units" \
  sh -c 'udevadm control --reload && systemctl daemon-reload'
sed -i 's/^\(genpool:.*\)/\1member/; s/^\(genpool-admin:.*\)/\1outsider/' /etc/group

# Off, so that opening them must change that; devices of QEMU's firmware are left on.
for device in "$nv0" "$ivs"; do
  printf '\000\000' | dd of=/sys/bus/pci/devices/$device/config bs=2 seek=2 conv=notrunc 2> /dev/null
done
before=$(states) nv0_before=$(state "$nv0")
begin
check "the socket is enabled" systemctl enable --now genpoold.socket
check "and the admins' with it" systemctl is-enabled genpoold-admin.socket
check "both listen, each for its group" equal \
  "$(stat -c '%a %U:%G' /run/genpool/io.genpool.Broker1 /run/genpool/io.genpool.Broker1.admin | xargs)" \
  "660 root:genpool 660 root:genpool-admin"
check "that alone starts no daemon" equal "$(property ActiveState)" inactive
check "the first client starts it, and finds no pool" pools
check "it has told systemd that it is ready, and what it serves" \
  equal "$(property ActiveState), $(property StatusText)" "active, 0 pools, 0 leases, 0 connections"
check "as it was installed it changes no device" equal "$(states)" "$before"
check "a member of the group genpool may connect" su member -c 'genpoolctl pool list'
check "others may not" fails_with 1 'ermission denied' su outsider -c 'genpoolctl pool list'
check "nor a member to the admin socket" \
  fails_with 1 'admin socket is for root and the group genpool-admin' su member -c 'genpoolctl pool detach cmb'
check "a member of the group genpool-admin may, and is an admin there" \
  fails_with 1 'no pool cmb' su outsider -c 'genpoolctl pool detach cmb'

# The configuration, by reload.

cat > $configuration <<END
{ "record": "/var/log/genpool", "pools": [
  { "name": "cmb", "device": "$nv0", "bar": 2, "size": "256K", "allow": ["hotplug"] },
  { "name": "ivs", "device": "1af4:1110", "nth": 1, "bar": 2, "size": "1M", "allow": ["hotplug"] } ] }
END
begin
check "systemctl reload succeeds" systemctl reload $unit
check "it attaches the pools that are configured now" within 10 pools cmb ivs
check "the log says what changed" logged 'reload change="pool ivs: added"'
check "the devices are enabled, and drivers kept off" \
  equal "$(state "$nv0"), $(state "$ivs")" \
  "override genpool, command 0002, enable 1, override genpool, command 0002, enable 1"
check "a member leases, writes and reads back" su member -c "genpoolctl lease acquire \
  --pool ivs --size 64K --fill-from /host/pattern --dump-to /tmp/dump && cmp /host/pattern /tmp/dump"
check "the log has the member's lease" logged '^lease .*uid=1000'
check "it is recorded where the sandbox lets the daemon write" \
  sh -c 'head -n 1 /var/log/genpool/ivs-*.gpt | grep -qx "GENPOOL-TRACE 1 ivs" \
    && grep -q "^G .* 10000 ff = " /var/log/genpool/ivs-*.gpt'
check "but a member may not detach" fails_with 1 'ermission' su member -c 'genpoolctl pool detach cmb'
echo '{ "pools": [], "socket": 1, "color": "red" }' > /run/wrong.json
cp $configuration /run/right.json
cp /run/wrong.json $configuration
begin
systemctl reload $unit
check "a wrong configuration changes nothing, and the log says what is wrong with it" \
  within 5 logged 'invalid configuration .*color'
check "the pools are still there" pools cmb ivs
cp /run/right.json $configuration

# VFIO, in the sandbox of a daemon that was started before there was anything of it but its core.

# configure JSON: of the pool ivs; without it there is none.
configure() {
  cat > $configuration <<END
{ "pools": [ $1
  { "name": "cmb", "device": "$nv0", "bar": 2, "size": "256K", "allow": ["hotplug"] } ] }
END
  systemctl reload $unit
}
check "starting the daemon has loaded VFIO's core" test -d /sys/module/vfio
configure
check "a pool goes when it is not configured any more" within 5 pools cmb
check "a device is bound to vfio-pci" sh -c "modprobe -a vfio_iommu_type1 vfio-pci && genpoolctl device bind $ivs"
configure '{ "name": "ivs", "device": "1af4:1110", "nth": 1, "bar": 2, "size": "1M", "source": "vfio" },'
check "the daemon attaches it through VFIO" within 5 pools cmb ivs
check "a member leases, writes and reads back through VFIO" su member -c "genpoolctl lease acquire \
  --pool ivs --size 64K --fill-from /host/pattern --dump-to /tmp/dump2 && cmp /host/pattern /tmp/dump2"
configure
check "it goes, too" within 5 pools cmb
check "the device is given back" genpoolctl device unbind "$ivs"
ivs_before=$(state "$ivs")  # with what vfio-pci has left of it
cp /run/right.json $configuration
systemctl reload $unit
check "the pools are as before" within 5 pools cmb ivs

# A second client that is not ours.

socket=/run/genpool/io.genpool.Broker1
check "varlinkctl learns who serves" sh -c "varlinkctl info $socket | grep -q io.genpool.Broker1"
check "varlinkctl finds the interface's description valid" sh -c \
  "varlinkctl introspect $socket io.genpool.Broker1 > /run/interface && varlinkctl validate-idl /run/interface"
check "varlinkctl lists the pools" sh -c \
  "varlinkctl call $socket io.genpool.Broker1.ListPools '{}' --json=short | grep -q '\"cmb\".*\"ivs\"'"

# The sandbox: of the running daemon, and what a process in it can do.

daemon=/proc/$(property MainPID)/status
check "the daemon is not root" test "$(awk '$1 == "Uid:" { print $2 }' $daemon)" -gt 60000
check "it has CAP_DAC_OVERRIDE, CAP_LEASE and CAP_SYS_ADMIN, filtered system calls, and nothing to gain" \
  equal "$(awk '/^(CapEff|CapBnd|NoNewPrivs|Seccomp):/ { print $2 }' $daemon | xargs)" \
  "0000000010200002 0000000010200002 1 2"
sed -e 's/^Type=.*/Type=oneshot/; s/^Restart=.*/Restart=no/; /^Watchdog/d; /^ExecReload/d' \
  -e '/^Requires/d' -e "s|^ExecStart=.*|ExecStart=/bin/sh /sandbox.sh $$ $testdev|" \
  -e 's|^\[Service\]|&\nEnvironment=PATH=/usr/bin:/usr/lib/busybox|' \
  $units/$unit > /run/systemd/system/sandbox.service
mkdir -p /run/systemd/system/$unit.d
printf '[Service]\nWatchdogSec=4\nRestartSec=100ms\n' > /run/systemd/system/$unit.d/short.conf
systemctl daemon-reload
systemctl start sandbox.service
journalctl --no-pager --output cat --unit sandbox.service > /host/sandbox.log
sh /sandbox.sh $$ $testdev > /host/free.log
tried=$(sed -n 's/^tried: //p' /host/sandbox.log | xargs)
check "what the sandbox is tried with works outside of it" \
  equal "$(sed -n 's/^could: //p' /host/free.log | xargs)" "$tried"
check "inside, a process can write devices and nothing else" \
  equal "$(sed -n 's/^could: //p; s/^ended/&/p' /host/sandbox.log | xargs)" "write-a-device ended"
check "systemd $(systemctl --version | awk 'NR == 1 { print $2 }') rates it as the lint does" \
  systemd-analyze security --offline=yes --threshold=14 $units/$unit

# The end, a wrong configuration, a daemon that hangs.

begin
check "systemctl stop succeeds" systemctl stop genpoold.socket $unit
check "neither socket listens any more" fails_with 69 'genpoold running' genpoolctl pool detach cmb
check "the daemon has ended well" equal "$(property Result), $(property ExecMainStatus)" "success, 0"
check "the devices are as they were" equal "$(states)" "$nv0_before; $ivs_before"

cp /run/wrong.json $configuration
begin
systemctl start genpoold.socket
# crowd: 20 clients at the same time, each of which leaves what it was told and its exit status.
crowd() {
  rm -rf /run/crowd && mkdir /run/crowd
  clients=
  for number in $(seq 20); do
    { timeout 60 genpoolctl pool list > /run/crowd/$number 2>&1; echo "status $?" >> /run/crowd/$number; } &
    clients="$clients $!"
  done
  wait $clients
}
# active: both sockets are there for the next client.
active() {
  equal "$(systemctl is-active genpoold.socket genpoold-admin.socket | xargs)" "active active"
}
crowd
check "with a wrong configuration each of 20 clients is told the cause" equal \
  "$(grep -l "read genpoold's configuration $configuration.*mistakes" /run/crowd/* | wc -l), $(cat /run/crowd/* | grep -c '^status 1$')" \
  "20, 20"
check "the daemon has ended, with the status of a wrong configuration" within 10 \
  sh -c "systemctl show $unit | grep -qx ExecMainStatus=78 && systemctl is-failed --quiet $unit"
check "the sockets have not given up" active
check "the daemon says what is wrong" logged 'color'
check "and is not started over and over" test "$(grep -c 'color' /run/logged)" -le 10
for number in $(seq 6); do timeout 60 genpoolctl pool list > /run/crowd/again 2>&1; done
check "nor do they when clients come again and again" active
check "a client of the admins' socket is told, too" \
  fails_with 1 "read genpoold's configuration" timeout 60 genpoolctl pool detach cmb
within 10 systemctl is-failed --quiet $unit
cp /run/right.json $configuration
check "with the right one the next client is served, without systemctl" within 30 pools cmb ivs
hung=$(property MainPID)
begin
kill -STOP "$hung"
check "who connects to a daemon that hangs is served, by the next one" \
  within 30 pools cmb ivs
check "which systemd has started as the watchdog was not fed" logged '[Ww]atchdog'
check "it is another process" test "$(property MainPID)" != "$hung"

# Devices that come and go.

# gone SLOT, there SLOT: whether a device is behind that root port.
there() {
  [ -e /sys/bus/pci/devices/"$(behind "$1")"/config ]
}
gone() {
  ! there "$1"
}
cycle=0
# unplug DEVICE SLOT, plug DEVICE SLOT: by the host.
unplug() {
  cycle=$((cycle + 1))
  stop "unplug-$1-$cycle"
  check "$1 goes ($cycle)" within 10 gone "$2"
}
plug() {
  stop "plug-$1-$cycle"
  check "$1 comes ($cycle)" within 10 there "$2"
}

# candidate BDF: what udevd has noted of a device.
candidate() {
  udevadm info --query property --property GENPOOL_CANDIDATE,CURRENT_TAGS,SYSTEMD_WANTS \
    "/sys/bus/pci/devices/$1" | xargs
}
marked="GENPOOL_CANDIDATE=1 SYSTEMD_WANTS=genpool.target CURRENT_TAGS=:systemd:"
check "udev has marked the controller" equal "$(candidate "$nv0")" "$marked"
check "udev has marked the memory" equal "$(candidate "$ivs")" "$marked"
check "udev has not marked the test device" equal "$(candidate "$testdev")" ""

# revocation: what happens to a member's lease on ivs, and to the pool, while it goes and comes back.
revocation() {
  genpoolctl monitor > /run/events & monitor=$!
  within 10 grep -q started /run/events
  su member -c "exec genpoolctl lease acquire --pool ivs --size 64K --fill 0x5a --hold" \
    > /run/held 2> /run/told & holder=$!
  within 10 grep -q isolation /run/held
  unplug ivs "$ivs_slot"
  wait $holder
  check "its holder ends and says why ($cycle)" fails_with 1 'was revoked' sh -c "cat /run/told; exit $?"
  check "the monitor tells of the revocation, and of the pool's end ($cycle)" \
    within 10 sh -c "xargs < /run/events | grep -E 'regionRevoked pool=ivs.*leaseRevoked.*uid=1000.*regionRemoved pool=ivs'"
  check "the other pool is not touched ($cycle)" pools cmb
  plug ivs "$ivs_slot"
  check "the pool comes back ($cycle)" within 10 pools cmb ivs
  check "with nothing of what was in it ($cycle)" \
    sh -c "genpoolctl lease acquire --pool ivs --size 1M --dump-to /run/dump && ! tr -d '\0' < /run/dump | grep -q ."
  kill $monitor
}
for round in 1 2 3; do revocation; done

# Processes that outlive the device that they leased, and write on. One lets go of its memory as it
# should, and one only takes its lock off, and claims to have.
survivor() { # OPTIONS...
  rm -f /run/more /run/said
  mkfifo /run/more
  su member -c "exec /dma-proof outlive --pool ivs $*" < /run/more > /run/said & survivor=$!
  # For reading as well: then the open does not wait, and no signal interrupts it.
  exec 9<> /run/more
  check "a process leases of ivs to outlive it ($cycle)" within 10 grep -q held /run/said
  unplug ivs "$ivs_slot"
  check "it hears that its lease is revoked ($cycle)" within 10 grep -q revoked /run/said
  plug ivs "$ivs_slot"
}
survivor
check "it lives, and the new device is attached at the same address" within 10 pools cmb ivs
exec 9>&-
check "it writes to where the memory was" within 10 grep -q written /run/said
check "nothing of that is in the new device" \
  sh -c "genpoolctl lease acquire --pool ivs --size 1M --dump-to /run/dump && ! tr -d '\0' < /run/dump | grep -q ."
check "it still lives" kill $survivor
survivor --unlock
sleep 1
check "who only says that it has let go is waited for" \
  sh -c "genpoolctl pool list --json | grep -q revoked"
kill $survivor
exec 9>&-
check "until it ends" within 10 pools cmb ivs

# An enabled service comes with the first device.
systemctl stop genpoold.socket $unit
check "what the killed daemon left of a device is cleared in the end" \
  equal "$(cat /sys/bus/pci/devices/$nv0/driver_override)" "(null)"
rm -r /run/systemd/system/$unit.d
unplug nv0 "$nv0_slot"
unplug ivs "$ivs_slot"
check "without devices genpool.target goes" within 10 sh -c '! systemctl -q is-active genpool.target'
check "the service is enabled" systemctl enable $unit
plug ivs "$ivs_slot"
check "a device that comes starts it" within 20 systemctl -q is-active $unit
check "with its pool" within 10 pools ivs
udevadm control --stop-exec-queue
plug nv0 "$nv0_slot"
sleep 1
check "the daemon hears of another one from udevd, not before it" pools ivs
udevadm control --start-exec-queue
check "and then has its pool" within 10 pools cmb ivs

# The same without udevd, by the kernel's own messages.
systemctl stop systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket
check "udevd has gone" test ! -e /run/udev/control
systemctl restart $unit
revocation

check "no unit has failed" equal "$(systemctl list-units --failed --plain --no-legend)" ""
check "the kernel had nothing to complain of" \
  sh -c '! dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace"'
[ $failures = 0 ]
