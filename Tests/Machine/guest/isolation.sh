# Scenarios: a mapping that outlives its lease. isolation.py describes them, attacker.c the attacker.
#
# The contract: another user never gets memory that a process of the first one still maps, and gets it within
# a second when none does any more. Each pool has a witness, the way in which a running broker learns whether
# its memory is mapped:
#   lease   sysfs: the kernel reports what is left of each lease (epoll)
#   group   VFIO: the kernel opens a group only when no process maps memory of its device
# and a way in which a broker that starts learns of what an earlier one lent:
#   file    sysfs before Linux 7.0: the kernel reports whether the BAR's file is open, mappings included
#   group   VFIO, as above
#   none    sysfs since Linux 7.0: only the earlier broker's record. Root detaches or forces.

sysfs=$sysfs_slot vfio=$(behind "$vfio_slot")
export GENPOOL_SOCKET=/run/genpool.socket
first=1001 second=1002  # the user that attacks, and the one that must be protected
pools="sysfs vfio"
release=$(uname -r)

load vfio_pci && load vfio_iommu_type1 && genpoolctl device bind "$vfio" > /dev/null || exit 2

witness() {
  case $1 in
    vfio) echo group ;;
    sysfs) echo lease ;;
  esac
}

at_start() {
  case $1 in
    vfio) echo group ;;
    sysfs) [ "${release%%.*}" -lt 7 ] && echo file || echo none ;;
  esac
}

# spec POOL: as `pool attach` takes it.
spec() {
  eval echo "\$$1:2,offset=$pool_offset,size=$pool_size,name=$1,source=$1"
}

start_daemon() {
  genpoold 2>> /host/genpoold.log &
  daemon=$!
  within 20 sh -c "genpoolctl pool list > /dev/null 2>&1" && chmod 666 $GENPOOL_SOCKET || exit 2
}

# end_daemon SIGNAL
end_daemon() {
  kill "-$1" $daemon
  wait $daemon
}

# The broker as root drives it

attach() { genpoolctl pool attach "$(spec "$1")"; }
force() { genpoolctl pool attach "$(spec "$1")" --force; }
detach() { genpoolctl pool detach "$1"; }

# renew POOL: no process maps its memory, and no user has a claim to it.
renew() {
  end "attacker-$1"
  within 10 sh -c "genpoolctl pool detach $1 2>&1 | grep -qE 'is detached|no (such )?pool'"
  attach "$1" > /run/renewed 2>&1 || force "$1" > /run/renewed 2>&1 || {
    echo "@fail $cell: the $1 pool cannot be attached for the next check: $(tail -n 3 /run/renewed)"
    exit 2
  }
}

# settled NAME: the broker has noticed the end of the process that leased, and of its lease.
settled() {
  within 5 sh -c "! genpoolctl lease list --json | grep -qE '\"pid\" *: *$(cat "/run/$1.owner")\b'"
}

# fails TEXT COMMAND...: whatever the exit status of the failure.
fails() {
  text=$1
  shift
  said=$("$@" 2>&1) && { echo "it has not failed: $said"; return 1; }
  echo "$said"
  echo "$said" | grep -qiE "$text"
}

# Attackers

# attack NAME UID POOL hold|keep OPTION...: its commands are read from NAME.asked, NAME.said has its answers.
# The wait is long enough for the broker to notice the end of another process: a refusal stands.
attack() {
  name=$1 uid=$2 pool=$3
  shift 3
  rm -f "/run/$name.asked" "/run/$name.said"
  mkfifo "/run/$name.asked"
  attacker "$@" --uid "$uid" --socket $GENPOOL_SOCKET --pool "$pool" --size "$pool_size" --wait 500 \
    <> "/run/$name.asked" > "/run/$name.said" 2>&1 &
  process=$!
  echo $process > "/run/$name.owner"
  within 20 grep -qE '^(pid|refused|attacker:)' "/run/$name.said"
  case $1 in keep) wait $process ;; esac
}

# told NAME: the broker's answer. pid NAME: the process that has the mapping.
told() { head -n 1 "/run/$1.said"; }
pid() { sed -n 's/^pid //p' "/run/$1.said"; }
lives() { process=$(pid "$1") && [ -n "$process" ] && kill -0 "$process" 2> /dev/null; }

# ask NAME COMMAND: prints its answer.
ask() {
  answers=$(wc -l < "/run/$1.said")
  echo "$2" 1<> "/run/$1.asked"
  within 5 sh -c "[ \$(wc -l < /run/$1.said) -gt $answers ]" && tail -n 1 "/run/$1.said"
}

# end NAME: nothing of it maps memory afterwards.
end() {
  lives "$1" || return 0
  kill -9 "$process"
  wait "$process" 2> /dev/null
  while lives "$1"; do sleep 0.05; done
}

# apart ATTACKER VICTIM: whatever the broker has answered, neither reads the other's writes.
apart() {
  [ "$(told "$2")" = granted ] || return 0
  secret="secret $(od -An -N6 -tx1 /dev/urandom | tr -d ' ')"
  equal "$(ask "$2" "write $secret")" written || return 1
  found=$(ask "$1" "find $secret")
  case $found in
    absent | fault) ;;
    *) echo "the attacker reads the other user's memory: $found"; return 1 ;;
  esac
  ask "$1" "flood written by the attacker" > /dev/null
  equal "$(ask "$2" read)" "$secret"
}

# denied POOL WHEN [ERROR]: the other user gets no memory, and reads and writes none of the first user's.
denied() {
  attack victim $second "$1" hold
  check "$cell, $1: $2 another user is refused" \
    equal "$(told victim | cut -d' ' -f1,2)" "refused io.genpool.Broker1.${3:-PoolBusy}"
  ! lives "attacker-$1" || check "$cell, $1: $2 neither reads the other's writes" apart "attacker-$1" victim
  end victim
}

# leased POOL OPTION...: whether the first user's attacker is granted a lease.
leased() {
  attack "attacker-$1" $first "$@"
  [ "$(told "attacker-$1")" = granted ]
}

# lease POOL hold|keep OPTION...: the first user's attacker leases, as soon as the user before it has gone: on a
# busy machine that takes a while.
lease() {
  pool=$1
  within 10 leased "$@"
  check "$cell, $pool: the attacker is granted a lease" equal "$(told "attacker-$pool")" granted
}

# goes_on POOL WHEN: the user of a pool leases again.
goes_on() {
  attack again $first "$1" hold
  check "$cell, $1: $2 the same user is granted another lease" equal "$(told again)" granted
  end again
}

granted() {
  attack victim $second "$1" hold
  end victim
  equal "$(told victim)" granted
}

# served POOL WHEN: the other user gets memory, within a second: its wait is half of one.
served() {
  check "$cell, $1: $2 another user is served" within 1 granted "$1"
}

# by_root POOL WITNESS: what it takes, when no process maps the memory any more, until another user is served.
by_root() {
  case $2 in
    lease | group) served "$1" "once the mapping has gone" ;;
    *)
      denied "$1" "once the mapping has gone, until root detaches the pool,"
      check "$cell, $1: then the pool can be detached" within 5 detach "$1"
      check "$cell, $1: and attached" attach "$1"
      served "$1" "after that"
      ;;
  esac
}

# The cells

# The holder lives, with its lease.
living() {
  cell="a living holder"
  lease "$1" hold
  denied "$1" "meanwhile"
  goes_on "$1" "meanwhile"
  end "attacker-$1"
}

# The holder lives, and has released its lease; it has no descriptor and no lock, but the mapping.
released() {
  cell="a released lease"
  lease "$1" hold --unlock --release
  denied "$1" "while its holder maps it"
  goes_on "$1" "meanwhile"
  end "attacker-$1"
}

# kept POOL LOCK OPTION...: the holder is dead, its child has the mapping. Root tries to detach the pool.
kept() {
  pool=$1 lock=$2
  shift 2
  cell="a dead holder's child, the lock $lock"
  lease "$pool" keep "$@"
  denied "$pool" "while the child maps its memory"
  case $(witness "$pool") in
    lease)
      goes_on "$pool" "meanwhile"
      settled again
      check "$cell, $pool: meanwhile the pool cannot be detached" \
        fails_with 75 'still (reach|map)' genpoolctl pool detach "$pool"
      end "attacker-$pool"
      by_root "$pool" lease
      ;;
    group)
      # To ask the kernel the broker has let go of the device, which the kernel gives to no process before the child ends.
      attack again $first "$pool" hold
      check "$cell, $pool: meanwhile the same user is refused, too" \
        equal "$(told again | cut -d' ' -f1,2)" "refused io.genpool.Broker1.PoolBusy"
      end "attacker-$pool"
      by_root "$pool" group
      lease "$pool" keep "$@"
      denied "$pool" "again"
      check "$cell, $pool: meanwhile the pool can be detached" detach "$pool"
      check "$cell, $pool: but not attached: a process maps memory of the device" \
        fails 'still maps memory of a device of it' attach "$pool"
      denied "$pool" "with the pool detached" NoSuchPool
      end "attacker-$pool"
      check "$cell, $pool: once the mapping has gone the pool can be attached" within 5 attach "$pool"
      served "$pool" "after that"
      ;;
  esac
}

# by WAY POOL: the holder is dead, and its child has what the attacker calls WAY.
by() {
  cell="kept by $1"
  lease "$2" keep --way "$1"
  denied "$2" "meanwhile"
  end "attacker-$2"
  served "$2" "once it has gone"
}

# played GAME POOL: the holder is dead, and its child has the mapping, after the lessee has set and removed
# locks on the descriptor.
played() {
  cell="the lock game $1"
  lease "$2" keep --game "$1"
  denied "$2" "meanwhile"
  end "attacker-$2"
  served "$2" "once the mapping has gone"
}

# reopened POOL: the lessee opens its descriptor's file anew. Only root could, whom no witness sees then.
reopened() {
  cell="a descriptor that is opened anew"
  lease "$1" keep --way reopen
  check "$cell, $1: the kernel refuses that to a user" grep -qx 'reopen refused' "/run/attacker-$1.said"
  denied "$1" "while the descriptor is there"
  end "attacker-$1"
  served "$1" "once it has gone"
}

# connected POOL: the holder has released its lease, and its connection stays open.
connected() {
  cell="a kept connection"
  lease "$1" hold --release --descriptor
  denied "$1" "while the memory is mapped"
  check "$cell, $1: the holder lets go of the memory" equal "$(ask "attacker-$1" drop)" dropped
  case $(witness "$1") in
    lease) served "$1" "once nothing but the connection is left" ;;
    # Its process could open the device again by nothing that the kernel would report.
    group) denied "$1" "while its process lives" ;;
  esac
  end "attacker-$1"
  served "$1" "once it has ended"
}

# replugged POOL: the device is removed and comes back while the holder's child maps its memory.
replugged() {
  cell="a replugged device"
  eval "device=\$$1"
  lease "$1" keep
  case $(witness "$1") in
    lease)
      echo 1 > "/sys/bus/pci/devices/$device/remove"
      check "$cell, $1: the pool is revoked" within 5 sh -c "genpoolctl pool show $1 | grep -q 'was removed'"
      denied "$1" "without the device" PoolRevoked
      echo 1 > /sys/bus/pci/rescan
      denied "$1" "with the device plugged in again" PoolRevoked
      check "$cell, $1: its memory is not attached while it is mapped" \
        fails "pool $1 has it|processes still hold pool $1" genpoolctl pool attach "$(spec "$1" | sed "s/name=$1/name=other/")"
      end "attacker-$1"
      ;;
    group)
      # The kernel waits for the holder.
      echo 1 > "/sys/bus/pci/devices/$device/remove" &
      removal=$!
      check "$cell, $1: the pool is given up" within 5 sh -c "! genpoolctl pool show $1 > /dev/null 2>&1"
      denied "$1" "while the removal waits" NoSuchPool
      check "$cell, $1: the removal waits for the holder" kill -0 $removal
      end "attacker-$1"
      wait $removal
      check "$cell, $1: then the device is gone" test ! -e "/sys/bus/pci/devices/$device"
      echo 1 > /sys/bus/pci/rescan
      check "$cell, $1: it comes back" genpoolctl device bind "$device"
      ;;
  esac
  check "$cell, $1: once the mapping has gone the memory is attached" within 5 attach "$1"
  served "$1" "after that"
}

# killed: the broker dies, and another one starts, while children map memory of which the lock is off.
killed() {
  cell="a killed broker"
  for pool in $pools; do
    renew "$pool"
    lease "$pool" keep --unlock
  done
  end_daemon KILL
  start_daemon
  for pool in $pools; do
    case $(at_start "$pool") in
      none)
        check "$cell, $pool: memory that it lent is not attached, and the cause is named" \
          fails 'earlier run' attach "$pool"
        denied "$pool" "meanwhile" NoSuchPool
        end "attacker-$pool"
        check "$cell, $pool: nor once the mapping has gone, which the broker cannot see" \
          fails 'earlier run' attach "$pool"
        check "$cell, $pool: root can force it" force "$pool"
        check "$cell, $pool: of which the log has a line" grep -qiE 'force' /host/genpoold.log
        ;;
      *)
        check "$cell, $pool: memory that is mapped is not attached" fails 'still maps memory of' attach "$pool"
        denied "$pool" "meanwhile" NoSuchPool
        end "attacker-$pool"
        check "$cell, $pool: it is once the mapping has gone" within 5 attach "$pool"
        ;;
    esac
    served "$pool" "after that"
  done
}

# stopped: the same with a broker that is told to end, when no holder lives. The children have descriptors too.
stopped() {
  cell="a restarted broker"
  for pool in $pools; do
    renew "$pool"
    lease "$pool" keep --unlock --descriptor
    settled "attacker-$pool"
  done
  end_daemon TERM
  check "$cell: told to end the broker ends with status 0" equal $? 0
  start_daemon
  for pool in $pools; do
    case $(at_start "$pool") in
      none)
        check "$cell, $pool: the pool can be attached again" attach "$pool"
        denied "$pool" "while a child maps its memory"
        goes_on "$pool" "meanwhile"
        end "attacker-$pool"
        by_root "$pool" none
        ;;
      *)
        check "$cell, $pool: memory that is mapped is not attached" fails 'still maps memory of' attach "$pool"
        denied "$pool" "meanwhile" NoSuchPool
        end "attacker-$pool"
        check "$cell, $pool: it is once the mapping has gone" within 5 attach "$pool"
        served "$pool" "after that"
        ;;
    esac
  done
}

start_daemon
for pool in $pools; do attach "$pool" > /host/attach.log 2>&1 || exit 2; done
# The user of a pool goes on with it, so that one cell needs no renewal after the other.
living sysfs
released sysfs
kept sysfs left
renew sysfs
kept sysfs off --unlock
# Nothing is locked through VFIO.
living vfio
released vfio
by_root vfio group
renew vfio
kept vfio off --unlock
for way in descriptor exec flight nested ring unread namespace; do
  for pool in $pools; do by $way "$pool"; done
done
for game in ofd classic flock lease; do
  for pool in $pools; do played $game "$pool"; done
done
for pool in $pools; do
  reopened "$pool"
  connected "$pool"
  replugged "$pool"
done
killed
stopped

check "the kernel had nothing to complain of" \
  sh -c '! dmesg | grep -E "WARNING:|BUG:|Oops|Call Trace|DMAR: .*fault"'

[ $failures = 0 ]
